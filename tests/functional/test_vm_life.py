# SPDX-License-Identifier: Apache-2.0
"""A guest is a virtual machine: suspended, put back, copied, and with a wrong clock.

A snapshot of the disk is a copy of the state folder, suspending is SIGSTOP, and the
clock is that of libfaketime.  What each agent reports carries its run and a number, so
that a report that was lost, or counted twice, is seen.
"""

import collections
import functools
import glob
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack import processes, servers, stack
from guestagent import loop as loops
from tests.functional import conftest, faults, proxy, reports

pytestmark = pytest.mark.functional

Start = Callable[..., stack.Agent]


@pytest.fixture
def line(rabbit: servers.RabbitMQ) -> Iterator[proxy.Proxy]:
    """What the guest's connections go through."""
    with proxy.Proxy(rabbit.port) as made:
        yield made


@pytest.fixture
def pulsing(agent: Start, bus_url: str, line: proxy.Proxy) -> Start:
    """``pulsing(instance, **kwargs)``: an agent with ten events a second."""
    url = bus_url.replace(bus_url.split('@')[1].split('/')[0], f'127.0.0.1:{line.port}')
    options = {
        **faults.options(url, heartbeat_timeout_threshold=2),
        'probe': {'pulse': 0.1},
        'reports': {'heartbeat_interval': 0.5, 'splay': 0.2},
    }
    return functools.partial(agent, options=options, extensions='probe')


def take_away(line: proxy.Proxy) -> None:
    """Let no connection to the bus live."""
    line.cut, line.budget = True, 0
    line.reset()


def give_back(line: proxy.Proxy) -> None:
    line.cut, line.budget = False, None


def pulses(query: reports.Query, instance: str) -> dict[str, list[int]]:
    """Return the numbers of the events of each run, as they are on record."""
    found: dict[str, list[int]] = collections.defaultdict(list)
    after = None
    while True:
        page = query(
            'event_list', instance=instance, type='probe.pulse', limit=1000, after=after
        )
        for event in page['events']:
            found[event['data']['run']].append(event['data']['n'])
        after = page['next']
        if after is None:
            return found


def check(found: dict[str, list[int]]) -> None:
    """Each run from its first event to its last, each once and in order."""
    for run in found.values():
        assert run == list(range(1, len(run) + 1))


def wait_pulses(
    query: reports.Query, instance: str, runs: int, least: int = 5
) -> dict[str, list[int]]:
    """Wait until so many runs have come, the last with some events."""

    def enough() -> dict[str, list[int]] | None:
        try:
            found = pulses(query, instance)
        except Exception:  # noqa: BLE001 (there is no such instance yet)
            return None
        complete = len(found) >= runs and len(list(found.values())[-1]) >= least
        return found if complete else None

    return processes.wait_for(enough, f'events of {runs} runs', 120)


def wait_saved(child: stack.Agent, events: int = 5) -> None:
    """Wait until so many more events are on the disk."""
    path = child.state / 'spool'

    def count() -> int:
        return path.read_bytes().count(b' event\n') if path.exists() else 0

    before = count()
    child.wait_for(lambda: count() >= before + events, 'events are on the disk', 120)


def state_of(query: reports.Query, instance: str) -> str:
    return str(query('instance_show', instance=instance)['state'])


def test_reports_outlive_kills_while_the_bus_is_away(conductor, pulsing, line, query):
    conductor()
    child = pulsing('web')
    wait_pulses(query, 'web', 1)
    # Given an agent that is killed twice while it cannot report
    take_away(line)
    wait_saved(child)
    child.kill()
    child = pulsing('web', wait=False)
    wait_saved(child)
    child.kill()
    # and one that is stopped in good order,
    child = pulsing('web', wait=False)
    wait_saved(child)
    child.stop()
    # when the bus is back
    give_back(line)
    pulsing('web')

    # then all that they have said is known.
    found = wait_pulses(query, 'web', 4)
    check(found)
    assert all(len(run) >= 5 for run in found.values())
    assert query('instance_show', instance='web')['dropped'] == 0


def test_a_guest_is_put_back_to_an_older_disk(
    conductor, pulsing, line, query, tmp_path, stock_client
):
    conductor()
    child = pulsing('web')
    client = stock_client('web', namespace='probe', version='1.0')
    first = {'guestagent_command_id': 'first', 'guestagent_caller': 'tester'}
    client.call(first, 'mark', text='first')
    wait_pulses(query, 'web', 1)
    take_away(line)
    wait_saved(child)
    # Given a snapshot in which reports wait, whose guest then goes on, and is lost
    child.kill()
    snapshot = tmp_path / 'snapshot'
    shutil.copytree(child.state, snapshot)
    give_back(line)
    child = pulsing('web')
    wait_pulses(query, 'web', 2)
    second = {**first, 'guestagent_command_id': 'second'}
    client.call(second, 'mark', text='second')
    child.kill()
    # when it starts from the snapshot,
    shutil.rmtree(child.state)
    shutil.copytree(snapshot, child.state)
    pulsing('web')

    # then nothing is counted twice, and nothing that is new is taken for old,
    found = wait_pulses(query, 'web', 3)
    check(found)
    assert len(found) == 3
    # what the snapshot knows does not run again, and all else can.
    client.call(first, 'mark', text='first')
    client.call({**first, 'guestagent_command_id': 'third'}, 'mark', text='third')
    marks = (tmp_path / 'marks').read_text().split()
    assert marks == ['first', 'second', 'third']


def test_a_guest_is_suspended(conductor, pulsing, query, tmp_path, stock_client):
    conductor({'conductor': {'down_after': 2, 'sweep_interval': 0.2}})
    child = pulsing('web')
    wait_pulses(query, 'web', 1)
    # Given a guest that stands still until all have given it up,
    os.kill(child.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        processes.wait_for(lambda: state_of(query, 'web') == 'DOWN', 'it is DOWN')
        client = stock_client('web', namespace='probe', version='1.0')
        context = {'guestagent_command_id': 'one', 'guestagent_caller': 'tester'}
        client.cast(context, 'mark', text='once')
        client.cast(context, 'mark', text='once')
        with pytest.raises(Exception, match='Timed out'):
            stock_client('web', timeout=1, namespace='probe', version='1.0').call(
                {}, 'mark', text='nobody waits for this'
            )
        processes.wait_for(
            lambda: time.monotonic() - stopped > loops.STANDSTILL + 1,
            'it stood still long enough to know',
        )
        before = sum(map(len, pulses(query, 'web').values()))
    finally:
        # when it goes on
        os.kill(child.pid, signal.SIGCONT)

    # then it is there again, and what waited has run once.
    processes.wait_for(lambda: state_of(query, 'web') == 'UP', 'it is UP')
    marks = tmp_path / 'marks'
    processes.wait_for(marks.exists, 'the command ran')
    found = wait_pulses(query, 'web', 1, before + 10)
    check(found)
    assert marks.read_text().split() == ['once']
    assert 'this guest stood still for' in child.output()


def test_a_copy_of_a_guest_is_noticed(
    conductor, pulsing, line, query, tmp_path, children
):
    conductor({'conductor': {'conflict_after': 1}})
    child = pulsing('web')
    wait_pulses(query, 'web', 1)
    take_away(line)
    wait_saved(child)
    child.kill()
    # Given a copy of a machine with reports that wait
    copy = tmp_path / 'copy'
    shutil.copytree(child.state, copy / child.state.name)
    settings = child.config.read_text().replace(str(child.state), str(copy / 'state'))
    (copy / child.state.name).rename(copy / 'state')
    (copy / 'agent.conf').write_text(settings)
    give_back(line)
    # when both run
    pulsing('web')
    children.append(
        processes.Process(
            'the copy',
            [stack.script('guestagent'), '--config-file', copy / 'agent.conf'],
            copy / 'agent.log',
            env=stack.beside(conftest.PROBE),
        )
    )

    # then it is said,
    def told() -> list[Any]:
        page = query('event_list', instance='web', type='instance.duplicate')
        return [event['data'] for event in page['events']]

    [conflict] = processes.wait_for(told, 'the copy is noticed', 120)
    assert len(conflict['generations']) == 2
    # It is over whenever one of the two was not heard for a moment.
    processes.wait_for(
        lambda: query('instance_show', instance='web')['conflict'], 'both are heard'
    )
    # and what both have said is known once.
    found = wait_pulses(query, 'web', 3)
    check(found)
    assert len(found) == 3


@pytest.mark.parametrize('first', ['-400d', '+400d'])
def test_a_guest_has_a_wrong_clock_which_is_then_set(
    conductor, pulsing, query, tmp_path, stock_client, monkeypatch, first
):
    clock = tmp_path / 'clock'
    clock.write_text(first)
    [library] = glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')
    conductor({'conductor': {'down_after': 60, 'sweep_interval': 0.2}})
    with monkeypatch.context() as patch:
        patch.setenv('LD_PRELOAD', library)
        patch.setenv('FAKETIME_TIMESTAMP_FILE', str(clock))
        patch.setenv('FAKETIME_NO_CACHE', '1')
        patch.setenv('FAKETIME_DONT_FAKE_MONOTONIC', '1')
        pulsing('web')
    # Given a guest whose clock is a year off,
    found = wait_pulses(query, 'web', 1)
    shown = query('instance_show', instance='web')
    off = shown['started'][:4] != shown['last_seen'][:4]
    assert off, 'libfaketime has no effect'
    client = stock_client('web', namespace='probe', version='1.0')
    context = {'guestagent_command_id': 'one', 'guestagent_caller': 'tester'}
    assert client.call(context, 'mark', text='once') == 1
    # when it is set right while the agent runs
    clock.write_text('+0')
    before = sum(map(len, found.values()))
    wait_pulses(query, 'web', 1, before + 20)

    # then the command is still known, others run, and no report is missing.
    assert client.call(context, 'mark', text='once') == 1
    assert client.call({}, 'mark', text='twice') == 2
    check(wait_pulses(query, 'web', 1, before + 30))
    # Heartbeats go on, too: it is seen again and again.
    seen = query('instance_show', instance='web')['last_seen']
    processes.wait_for(
        lambda: query('instance_show', instance='web')['last_seen'] > seen,
        'the next heartbeat',
    )
    states = query('event_list', instance='web', type='instance.*')['events']
    assert [event['type'] for event in states] == ['instance.up']
    assert (tmp_path / 'marks').read_text().split() == ['once', 'twice']
