# SPDX-License-Identifier: Apache-2.0
"""What no guest should send: the conductor lets it go and takes the good ones."""

import pathlib
import random
from collections.abc import Iterator

import pytest

from devstack import processes
from tests.functional import reports

pytestmark = pytest.mark.functional


def _memory(pid: int) -> float:
    """Return the most that a process has ever had in memory, in MiB."""
    text = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(text.split('VmHWM:')[1].split()[0]) / 1024


def _garbage(good: str) -> Iterator[bytes]:
    """Yield malformed reports for ever: cut short, changed, or of another kind."""
    chance = random.Random(1)
    raw = good.encode()
    while True:
        yield raw[: chance.randrange(len(raw) - 1)]
        yield chance.randbytes(chance.randrange(200))
        broken = bytearray(raw)
        broken[chance.randrange(20)] = chance.randrange(128, 256)
        yield bytes(broken)
        yield b'{"payload": {"kind": "heartbeat", "sequence": -1}}'
        yield b'[[[[[["deep"]]]]]]'


def test_ten_thousand_malformed_reports_hide_no_good_one(conductor, publisher, query):
    child = conductor()
    guest = reports.Guest(publisher, 'web-1')
    garbage = _garbage(reports.Guest(publisher, 'x').make_heartbeat())
    for number in range(10_000):
        # Not confirmed one by one: it is the conductor that is tested.
        publisher.post(next(garbage))
        if number % 500 == 499:
            guest.event('good', number=number)

    def good() -> list[int]:
        return [event['data']['number'] for event in reports.events(query, 'web-1')]

    processes.wait_for(lambda: len(good()) == 20, 'all good ones have come', 120)
    processes.wait_for(lambda: not publisher.depth(), 'the queue is empty')
    assert child.stop() == 0
    assert '10020 reports taken, 10000 of them dropped' in child.output()
    # One line, and how many it stands for.
    assert child.output().count('a report was dropped') < 20


def test_a_report_of_100_mib_is_let_go_and_not_kept_in_memory(
    conductor, publisher, query
):
    child = conductor()
    guest = reports.Guest(publisher, 'web-1')
    guest.event('before')
    processes.wait_for(lambda: reports.events(query, 'web-1'), 'the first was taken')
    before = _memory(child.pid)

    publisher.send(b'{"payload": "' + b'x' * (100 * 1024 * 1024) + b'"}')
    guest.event('after')

    child.wait_line(
        r'a report was dropped: 1048576\d\d bytes, more than max_report_size'
    )
    processes.wait_for(
        lambda: len(reports.events(query, 'web-1')) == 2, 'the next was taken', 120
    )
    assert _memory(child.pid) - before < 30


def test_a_report_of_an_unknown_instance_makes_it_known(conductor, publisher, query):
    conductor()

    reports.Guest(publisher, 'never-heard-of').outcome('c-1', {'x': 1})

    reports.wait_state(query, 'never-heard-of', 'NEW')
    assert query('command_show', instance='never-heard-of', command_id='c-1')


@pytest.mark.parametrize('sequence', [5000, 2**63 - 1])
def test_a_sequence_from_the_future_blocks_nothing(
    conductor, publisher, query, sequence
):
    conductor()
    guest = reports.Guest(publisher, 'web-1')
    guest.heartbeat()
    guest.facts(True, a=1)
    reports.wait_state(query, 'web-1', 'UP')

    guest.skip_to(sequence)
    guest.heartbeat(status='stopping')
    guest.facts(True, a=2)
    guest.skip_to(2)
    guest.facts(False, a=3)
    guest.heartbeat(exec='ok')
    guest.event('last')

    processes.wait_for(
        lambda: 'exec' in query('instance_show', instance='web-1')['extensions'],
        'the heartbeat after it counts',
    )
    facts = query('facts_get', instance='web-1')['facts']
    assert facts['monitoring.a']['value'] == 3
    assert query('instance_show', instance='web-1')['state'] == 'UP'


def test_two_agents_with_one_name_are_noticed_and_not_mixed(
    conductor, publisher, query, guestctl
):
    conductor({'conductor': {'conflict_after': 1}})
    first = reports.Guest(publisher, 'web-1', 'one', 2, boot_id='boot-1')
    second = reports.Guest(publisher, 'web-1', 'two', 2, boot_id='boot-2')
    first.heartbeat()
    first.facts(True, hostname='first', only='first')
    reports.wait_state(query, 'web-1', 'UP')

    def conflict() -> object:
        for guest in (second, first):
            guest.heartbeat()
            guest.facts(True, hostname=guest.generation)
        facts = query('facts_get', instance='web-1')['facts']
        values = {fact['value'] for fact in facts.values()}
        assert values in ({'first'}, {'two'})
        return query('instance_show', instance='web-1')['conflict']

    processes.wait_for(conflict, 'the conflict is seen')

    shown = query('instance_show', instance='web-1')['conflict']
    assert shown['generations'] == [2, 1]
    assert shown['boot_ids'] == ['boot-2', 'boot-1']
    listed = guestctl('instance', 'list', '--conflict', '-f', 'value')
    assert listed.stdout.startswith('web-1 ')
    assert listed.stdout.endswith(f' since {shown["since"]}\n')
    assert 'boot-2' in guestctl('instance', 'show', 'web-1').stdout
    told = [
        event
        for event in reports.events(query, 'web-1')
        if event['type'] == 'instance.duplicate'
    ]
    assert [event['data'] for event in told] == [
        {'generations': [2, 1], 'boot_ids': ['boot-2', 'boot-1']}
    ]
    facts = query('facts_get', instance='web-1')['facts']
    assert {fact['value'] for fact in facts.values()} == {'two'}
    # When the one of the two is stopped, the other is what there is.
    second.heartbeat(status='stopping')

    def first_counts() -> bool:
        first.heartbeat()
        shown = query('instance_show', instance='web-1')
        return shown['boot_id'] == 'boot-1' and shown['state'] == 'UP'

    processes.wait_for(first_counts, 'the first counts again')
    assert guestctl('instance', 'list', '--conflict', '-f', 'value').stdout == ''
    assert query('instance_show', instance='web-1')['conflict'] is None
