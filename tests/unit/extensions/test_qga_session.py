# SPDX-License-Identifier: Apache-2.0
"""One client of the qga channel, without a transport."""

import collections
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from guestagent_qga import answers, guest, session, state

from guestagent import errors as native_errors


class Native:
    """Answers from functions; what is not there is not installed."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[..., Any]] = {}

    def call(self, namespace: str, method: str, args: dict[str, Any], /) -> Any:
        return self.answers[f'{namespace}.{method}'](**args)

    def serves(self, namespace: str, /) -> bool:
        return any(name.startswith(f'{namespace}.') for name in self.answers)


class Work:
    """Keeps what is to be done until :meth:`turn`."""

    def __init__(self) -> None:
        self.waiting: collections.deque[Callable[[], None]] = collections.deque()

    def submit(self, function: Callable[[], None]) -> None:
        self.waiting.append(function)

    def turn(self) -> None:
        while self.waiting:
            self.waiting.popleft()()


class Bed:
    """A client, and what it was told."""

    def __init__(self, folder: pathlib.Path, **settings: Any) -> None:
        self.native, self.work = Native(), Work()
        chosen = guest.Settings('10.2.2', **settings)
        self.guest = guest.Guest(self.native, chosen, state.State(str(folder)))
        self.sent = b''
        self.session = self.connect()

    def connect(self) -> session.Session:
        return session.Session(
            self.guest, self.work, self._send, lambda call, *args: call(*args)
        )

    def _send(self, line: answers.Line) -> None:
        pieces = (each.encode() if isinstance(each, str) else each for each in line)
        self.sent += b''.join(pieces)

    def ask(self, name: str, **more: Any) -> None:
        self.session.feed(json.dumps({'execute': name, **more}).encode())

    def told(self) -> list[Any]:
        lines, self.sent = self.sent.splitlines(), b''
        return [json.loads(line.removeprefix(b'\xff')) for line in lines]


@pytest.fixture
def bed(tmp_path: pathlib.Path) -> Bed:
    return Bed(tmp_path)


def test_answers_come_in_order(bed: Bed):
    bed.native.answers['power.get_time'] = lambda: {'nanoseconds': 5}
    bed.ask('guest-ping', id=1)
    bed.ask('guest-get-time', id=2)
    bed.ask('guest-ping', id=3)
    assert bed.told() == [{'return': {}, 'id': 1}]

    bed.work.turn()

    assert bed.told() == [{'return': 5, 'id': 2}, {'return': {}, 'id': 3}]
    assert bed.session.is_idle


def test_another_client_does_not_wait(bed: Bed):
    bed.native.answers['power.get_time'] = lambda: {'nanoseconds': 5}
    bed.ask('guest-get-time')
    other = bed.connect()

    other.feed(b'{"execute":"guest-ping"}')

    assert bed.told() == [{'return': {}}]


def test_half_a_request_is_nothing_to_another_client(bed: Bed):
    bed.session.feed(b'{"execute":"guest-')
    bed.session.close()

    bed.connect().feed(b'{"execute":"guest-ping"}')

    assert bed.told() == [{'return': {}}]


def test_what_succeeds_silently(bed: Bed):
    bed.native.answers['power.shutdown'] = lambda mode: None
    bed.ask('guest-shutdown', arguments={'mode': 'reboot'})
    bed.ask('guest-ping')
    bed.work.turn()
    assert bed.told() == [{'return': {}}]

    bed.ask('guest-shutdown', arguments={'mode': 'x'}, id=4)
    bed.work.turn()
    assert bed.told()[0]['id'] == 4


def test_the_delimiter(bed: Bed):
    bed.ask('guest-sync-delimited', arguments={'id': 7})

    assert bed.sent == b'\xff{"return": 7}\n'


def test_what_is_blocked_and_what_is_not_allowed(tmp_path: pathlib.Path):
    bed = Bed(
        tmp_path,
        blocked=frozenset(('guest-sync',)),
        allowed=frozenset(('guest-sync', 'guest-info', 'guest-get-time')),
    )
    for name in ('guest-sync', 'guest-ping', 'guest-get-time'):
        bed.ask(name)
    bed.work.turn()

    assert [(told['error']['class'], told['error']['desc']) for told in bed.told()] == [
        (
            'CommandNotFound',
            f'Command {name} has been disabled: the command is not allowed',
        )
        # The last one's extension is not installed.
        for name in ('guest-sync', 'guest-ping', 'guest-get-time')
    ]
    bed.ask('guest-info')
    listed = bed.told()[0]['return']['supported_commands']
    assert [item['name'] for item in listed if item['enabled']] == ['guest-info']


class Freezer:
    """Stands for the extension fsfreeze."""

    def __init__(self, bed: Bed) -> None:
        self.frozen = 0
        bed.native.answers |= {
            'fsfreeze.freeze': self.freeze,
            'fsfreeze.thaw': self.thaw,
            'fsfreeze.status': lambda: {'state': 'frozen' if self.frozen else 'thawed'},
            'power.get_time': lambda: {'nanoseconds': 5},
        }
        self.found = 2

    def freeze(self, **_: Any) -> dict[str, int]:
        self.frozen = self.found
        return {'count': self.frozen}

    def thaw(self) -> dict[str, int]:
        count, self.frozen = self.frozen, 0
        return {'count': count}


def _frozen_answer(name: str) -> str:
    return f'Command {name} has been disabled: the agent is in frozen state'


def test_while_frozen_few_commands_count(bed: Bed, tmp_path: pathlib.Path):
    Freezer(bed)
    for name in ('guest-fsfreeze-freeze', 'guest-get-time', 'guest-ping', 'guest-info'):
        bed.ask(name)
        bed.work.turn()

    count, refused, ping, info = bed.told()

    assert count == {'return': 2}
    assert refused['error']['desc'] == _frozen_answer('guest-get-time')
    assert ping == {'return': {}}
    enabled = {
        item['name'] for item in info['return']['supported_commands'] if item['enabled']
    }
    assert enabled == guest.FROZEN_COMMANDS
    # A new process knows of it.
    assert state.State(str(tmp_path)).was_frozen
    for name in ('guest-fsfreeze-thaw', 'guest-get-time'):
        bed.ask(name)
        bed.work.turn()
    assert bed.told() == [{'return': 2}, {'return': 5}]
    assert not state.State(str(tmp_path)).was_frozen


def test_a_freeze_that_has_ended_by_itself(bed: Bed):
    freezer = Freezer(bed)
    bed.ask('guest-fsfreeze-freeze')
    bed.work.turn()
    freezer.frozen = 0

    bed.ask('guest-get-time')
    bed.work.turn()

    assert bed.told() == [{'return': 2}, {'return': 5}]


def test_what_was_frozen_when_the_last_process_ended(tmp_path: pathlib.Path):
    state.State(str(tmp_path)).note_frozen(True)
    bed = Bed(tmp_path)
    freezer = Freezer(bed)
    assert bed.guest.frozen

    freezer.frozen = 1
    bed.guest.look_again()
    assert bed.guest.frozen
    freezer.frozen = 0
    bed.guest.look_again()

    assert not bed.guest.frozen


def test_a_freeze_of_nothing_and_one_that_fails(bed: Bed):
    freezer = Freezer(bed)
    freezer.found = 0
    bed.ask('guest-fsfreeze-freeze-list', arguments={'mountpoints': ['/nope']})
    bed.work.turn()
    assert bed.told() == [{'return': 0}]
    assert not bed.guest.frozen

    def fail(**_: Any) -> None:
        raise native_errors.GuestError('hook /x ended with exit code 1: boom')

    bed.native.answers['fsfreeze.freeze'] = fail
    bed.ask('guest-fsfreeze-freeze')
    bed.work.turn()
    assert bed.told()[0]['error']['desc'] == 'hook /x ended with exit code 1: boom'
    assert not bed.guest.frozen


def test_a_fault_of_ours_is_an_answer(bed: Bed, caplog: pytest.LogCaptureFixture):
    bed.native.answers['power.get_time'] = dict
    bed.ask('guest-get-time', id=1)
    bed.work.turn()

    assert bed.told() == [
        {'error': {'class': 'GenericError', 'desc': "KeyError: 'nanoseconds'"}, 'id': 1}
    ]


def test_an_answer_fits_where_the_client_has_a_limit(tmp_path: pathlib.Path):
    bed = Bed(tmp_path, answer_max=4000000)
    asked = []

    def read(handle: int, count: int) -> dict[str, Any]:
        asked.append(count)
        return {'data': 'AAAA' * (count // 3), 'count': count, 'eof': False}

    bed.native.answers |= {'file.open': lambda **_: {'handle': 3}, 'file.read': read}
    bed.ask('guest-file-open', arguments={'path': '/x'})
    bed.work.turn()
    bed.sent = b''
    bed.ask(
        'guest-file-read', arguments={'handle': 1000, 'count': 40000000}, id='x' * 99
    )
    bed.work.turn()

    assert 3900000 < len(bed.sent) <= 4000000
    (told,) = bed.told()
    assert told['return']['count'] == asked[0]
    assert told['id'] == 'x' * 99
    assert told['return']['eof'] is False


def test_a_client_that_sends_too_much_waits(bed: Bed):
    bed.native.answers['power.get_time'] = lambda: {'nanoseconds': 5}
    for _ in range(session.WAITING_MAX + 1):
        bed.ask('guest-get-time')
    assert bed.session.is_full

    while bed.work.waiting:
        bed.work.turn()

    assert not bed.session.is_full
    assert len(bed.told()) == session.WAITING_MAX + 1


def test_an_answer_to_who_has_gone(bed: Bed):
    bed.native.answers['power.get_time'] = lambda: {'nanoseconds': 5}
    bed.ask('guest-get-time')
    bed.session.close()

    bed.work.turn()

    assert bed.told() == []


def test_handles_go_on_after_a_restart(tmp_path: pathlib.Path):
    first = state.State(str(tmp_path))
    assert [first.take_handle(), first.take_handle()] == [1000, 1001]
    assert (tmp_path / 'qga.state').read_text() == '[global]\nfd_counter=1002\n'

    assert state.State(str(tmp_path)).take_handle() == 1002
