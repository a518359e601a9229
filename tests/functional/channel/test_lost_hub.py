# SPDX-License-Identifier: Apache-2.0
"""A hub that is killed, hangs, or is not there: all come back by themselves."""

import concurrent.futures
import contextlib
import signal
import threading

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import processes
from tests.functional import hubs

pytestmark = pytest.mark.functional


class Caller(threading.Thread):
    """Calls until it is told to stop; counts the answers."""

    def __init__(self, probe):
        super().__init__()
        self._probe = probe
        self.stopping = threading.Event()
        self.answered = 0

    def run(self):
        while not self.stopping.is_set():
            # A call that was in flight when the hub went gets an error.
            with contextlib.suppress(oslo_messaging.MessageDeliveryFailure):
                assert self._probe.call({}, 'echo', value=self.answered) == (
                    self.answered
                )
                self.answered += 1


def test_a_hub_is_killed_under_load_and_started_again(
    hub, start_agent, probe, tmp_path, children, marks
):
    agent = start_agent()
    callers = [Caller(probe) for _ in range(8)]
    for caller in callers:
        caller.start()
    try:
        for number in range(2):
            answered = [caller.answered for caller in callers]
            processes.wait_for(
                lambda answered=answered: all(
                    caller.answered > before + 20
                    for caller, before in zip(callers, answered, strict=True)
                ),
                'all callers get answers',
            )
            there = tmp_path / f'there-{number}'
            thread, got = start_call(probe, there)
            hub.kill()
            hub = hubs.Hub(tmp_path)
            children.append(hub)
            agent.wait_line('next attempt in')
            thread.join(60)
            assert len(got) == 1
            there.touch()
    finally:
        for caller in callers:
            caller.stopping.set()
        for caller in callers:
            caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert probe.call({}, 'mark', text='after') == 1
    assert marks() == ['after']


def start_call(probe, there):
    """Make a call in a thread; return that, and a list for its error, when it runs.

    :param there: the file whose coming ends it.
    """
    got = []

    def call():
        try:
            probe.prepare(timeout=120).call({}, 'climb', to=str(there))
        except oslo_messaging.MessageDeliveryFailure as error:
            got.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    core = oslo_messaging.get_rpc_client(
        probe.transport,
        oslo_messaging.Target(
            exchange='guestagent', topic='guestagent.vm-1', namespace='agent'
        ),
        timeout=60,
    )

    def runs():
        listed = core.call({}, 'list')
        return ('probe.climb', 'running') in [
            (one['command'], one['state']) for one in listed
        ]

    processes.wait_for(runs, 'the call runs')
    return thread, got


def test_calls_in_flight_get_an_error_at_once(hub, start_agent, probe, tmp_path):
    agent = start_agent()
    thread, got = start_call(probe, tmp_path / 'never')
    hub.kill()
    thread.join(60)
    assert len(got) == 1
    # It would let the call end first.
    agent.kill()


def test_a_reply_to_an_earlier_hub_does_not_count_against_its_caller(
    hub, start_agent, probe, tmp_path, children
):
    agent = start_agent()
    there = tmp_path / 'there'
    thread, _ = start_call(probe, there)
    hub.kill()
    thread.join(60)
    children.append(hubs.Hub(tmp_path))
    agent.wait_line('(connected to the hub at (.|\n)*){2}')
    there.touch()
    agent.wait_line('nobody there has asked this guest')

    assert probe.call({}, 'echo', value=1) == 1


def test_casts_outlive_a_hub(hub, probe, tmp_path, children, start_agent, marks):
    for number in range(20):
        probe.cast({}, 'mark', text=f'm{number}')
    hub.kill()
    children.append(hubs.Hub(tmp_path))

    start_agent()

    processes.wait_for(lambda: len(marks()) == 20, 'all marks')
    assert sorted(marks()) == sorted(f'm{number}' for number in range(20))


def test_who_does_not_want_to_wait_for_a_hub(tmp_path):
    cfg.CONF([])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, f'channel://{tmp_path}')
    target = oslo_messaging.Target(exchange='guestagent', topic='guestagent.vm-1')
    client = oslo_messaging.get_rpc_client(transport, target, timeout=30, retry=1)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='No such file'):
        client.call({}, 'echo')
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='No such file'):
        client.cast({}, 'echo')
    hasty = client.prepare(timeout=0.5, retry=-1)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        hasty.call({}, 'echo')
    transport.cleanup()


def test_a_hub_that_hangs(hub, start_agent, probe):
    start_agent()
    assert probe.call({}, 'echo', value=1) == 1
    hub._child.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(oslo_messaging.MessagingTimeout):
            probe.prepare(timeout=1).call({}, 'echo', value=2)
    finally:
        hub._child.send_signal(signal.SIGCONT)
    assert probe.call({}, 'echo', value=3) == 3


def test_a_call_right_after_the_hub_has_changed(
    hub, start_agent, probe, tmp_path, children
):
    agent = start_agent()
    for number in range(20):
        assert probe.call({}, 'echo', value=number) == number
    hub.kill()
    children.append(hubs.Hub(tmp_path))
    # The program has not looked since.
    assert probe.call({}, 'echo', value='x') == 'x'
    assert agent.running


def test_calls_of_one_program_at_once_and_one_after_the_other(start_agent, probe):
    start_agent()

    def call(name):
        return [probe.call({}, 'echo', value=f'{name}.{n}') for n in range(50)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for callers in (1, 2, 8, 1):
            results = list(pool.map(call, range(callers)))
            expected = [[f'{name}.{n}' for n in range(50)] for name in range(callers)]
            assert results == expected
