# SPDX-License-Identifier: Apache-2.0
"""When the agent's watchdog is fed, and when it is not."""

import socket
import threading

import pytest

from guestagent import extension, systemd
from guestagent import loop as loops
from guestagent.agent import dispatcher, pool, registry, steps, supervision
from guestagent.agent import request as requests


class Bed:
    """A supervision with systemd's end of its socket."""

    def __init__(self, folder, seconds=None):
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / 'notify'))
        self.manager.setblocking(False)
        environ = {'NOTIFY_SOCKET': str(folder / 'notify')}
        if seconds is not None:
            environ['WATCHDOG_USEC'] = str(int(seconds * 1e6))
        self.loop = loops.Loop()
        self.alive = True
        self.asked = 0
        self.made = supervision.Supervision(
            self.loop, self.answer, lambda: 'as it is', systemd.Notifier(environ)
        )

    def answer(self, arrived):
        self.asked += 1
        if self.alive:
            arrived()

    def heard(self):
        found = []
        while True:
            try:
                found.append(self.manager.recv(4096).decode().split('\n')[0])
            except BlockingIOError:
                return found

    def turn(self, asked):
        """Turn the loop until the watchdog has looked so often."""
        deadline = loops.time.monotonic() + 30
        while self.asked < asked:
            assert loops.time.monotonic() < deadline
            self.loop.run_once(1)


@pytest.fixture
def bed(tmp_path):
    made = []

    def make(**options):
        made.append(Bed(tmp_path, **options))
        return made[0]

    yield make
    for each in made:
        each.manager.close()
        each.loop.close()


def test_it_is_fed_again_and_again_while_the_dispatcher_answers(bed):
    watched = bed(seconds=0.02)

    watched.made.start()
    watched.turn(asked=3)

    assert watched.heard() == ['READY=1', 'STATUS=as it is', *['WATCHDOG=1'] * 3]


def test_it_is_not_fed_while_the_dispatcher_is_silent(bed, caplog):
    watched = bed(seconds=0.02)
    watched.alive = False

    watched.made.start()
    watched.turn(asked=1)
    assert 'the watchdog is not fed' not in caplog.text
    watched.turn(asked=2)

    assert watched.heard() == ['READY=1', 'STATUS=as it is']
    assert 'the watchdog is not fed' in caplog.text
    watched.alive = True
    watched.turn(asked=3)
    assert watched.heard() == ['WATCHDOG=1']


def test_a_reload_and_a_stop_are_told(bed):
    watched = bed()

    watched.made.reload(lambda: watched.made.update())
    watched.made.stop()

    assert watched.heard() == [
        'RELOADING=1',
        'STATUS=as it is',
        'READY=1',
        'STOPPING=1',
    ]
    assert watched.asked == 0


class Broken(steps.Step):
    def admit(self, request: requests.Request) -> None:
        raise RuntimeError('a step that fails')


def test_the_ping_passes_the_steps_and_the_pool():
    loop = loops.Loop()
    known = registry.Loaded('')
    command = registry.Command(
        'ping',
        lambda context: 'pong',
        extension.CommandInfo(False, None, True, frozenset(), inline=True),
    )
    command.quiet = True
    known.commands['oslo_rpc_server_ping'] = command

    class Find(steps.Step):
        def admit(self, request: requests.Request) -> None:
            request.command = known.commands[request.method]

    workers = pool.Pool(1, 0)
    whole = dispatcher.Dispatcher(loop, workers, None, [Find()])
    broken = dispatcher.Dispatcher(loop, workers, None, [Find(), Broken()])
    gate = threading.Event()
    workers.submit(lambda _: gate.wait(60), None)
    arrived = []

    supervision.go_round(loop, workers, broken.submit, lambda: arrived.append('broken'))
    supervision.go_round(loop, workers, whole.submit, lambda: arrived.append('whole'))

    # Though its only worker is busy.
    deadline = loops.time.monotonic() + 30
    while not arrived and loops.time.monotonic() < deadline:
        loop.run_once(1)
    gate.set()
    assert arrived == ['whole']
    assert whole.counts.ended == {'done': 1}
    assert broken.counts.refused == {'RuntimeError': 1}
    loop.close()
