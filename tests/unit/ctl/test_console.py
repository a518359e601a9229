# SPDX-License-Identifier: Apache-2.0
"""Programs that are followed: against the real extension behind a stock server."""

import base64
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from guestagent_exec import extension as exec_extension

from devstack import processes
from guestagent import errors, extension, testing
from guestagent.ctl import console


class Endpoint:
    """Answers ``exec.*`` in version 1.1 by the extension itself."""

    target = oslo_messaging.Target(namespace='exec', version='1.1')

    def __init__(self, made: exec_extension.Exec) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Callable[..., Any]:
        command = getattr(self._made, name)
        return lambda ctxt, **arguments: command(extension.Context(), **arguments)


@pytest.fixture
def programs(serve: Callable[..., None]) -> Iterator[exec_extension.Exec]:
    with testing.started(exec_extension.Exec, name='exec') as made:
        serve('guestagent.vm-1', Endpoint(made))
        yield made


def test_outputs_and_exit_code(programs: Any, ctl: Any) -> None:
    ended = ctl('exec', 'vm-1', '--shell', '--', 'printf "\\377o"; echo e >&2; exit 3')

    assert ended == (3, b'\xffo', 'e\n')
    assert programs.list(extension.Context()) == []


def test_as_much_is_shown_as_was_asked_for(programs: Any, ctl: Any) -> None:
    ended = ctl('exec', 'vm-1', '--output-limit', '3', '--', 'echo', 'abcdef')

    assert (ended.code, ended.out) == (0, b'abc')
    assert (
        ended.err == 'guestctl: stdout was cut: there was more of it (--output-limit)\n'
    )


def test_input_comes_in_parts_and_ends(
    programs: Any, ctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 10_000
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(data)))

    assert ctl('exec', 'vm-1', '--stdin', '--', 'cat') == (0, data, '')


def test_a_program_that_wants_no_input(
    programs: Any, ctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.TextIOWrapper(io.BytesIO(b'x' * 2_000_000))
    monkeypatch.setattr(sys, 'stdin', data)

    assert ctl('exec', 'vm-1', '--stdin', '--', 'true') == (0, b'', '')


def test_what_ended_it(programs: Any, ctl: Any) -> None:
    assert ctl('exec', 'vm-1', '--shell', '--', 'kill -9 $$').code == 137
    late = ctl('exec', 'vm-1', '--timeout', '0.2', '--', 'sleep', '600')
    assert late.code == 124
    assert late.err.startswith('guestctl: killed after 0.2 s, when its time was over')
    wrong = ctl('exec', 'vm-1', '--', 'no-such-program')
    assert wrong.code == 125
    assert wrong.err.startswith("guestctl: 'no-such-program': there is no such program")
    assert wrong.err.count('\n') == 1


def test_a_script(programs: Any, ctl: Any, tmp_path: Any) -> None:
    script = tmp_path / 'script'
    script.write_bytes(b'#!/bin/sh\n# \xff\necho "$@"\n')

    assert (
        ctl('exec', 'vm-1', '--script', str(script), '--', '-a', 'b').out == b'-a b\n'
    )
    missing = ctl('exec', 'vm-1', '--script', '/no/such')
    assert missing.code == 125
    assert missing.err == 'guestctl: --script: /no/such: No such file or directory\n'


def test_programs_that_are_left(programs: Any, ctl: Any) -> None:
    handle = ctl(
        'exec', 'vm-1', '--detach', '--shell', '--', 'echo said; sleep 600'
    ).out.decode().strip()  # fmt: skip
    processes.wait_for(
        lambda: programs.status(extension.Context(), handle)['stdout_bytes'],
        'what it says',
    )

    [row] = json.loads(ctl('program', 'list', 'vm-1', '-f', 'json').out)
    assert (row['handle'], row['state']) == (handle, 'running')
    assert ctl('program', 'signal', 'vm-1', str(row['pid']), '9') == (0, b'', '')
    assert ctl('program', 'attach', 'vm-1', handle) == (137, b'said\n', '')
    [row] = json.loads(ctl('program', 'list', 'vm-1', '-f', 'json').out)
    assert row['state'] == 'SIGKILL'
    again = ctl('program', 'signal', 'vm-1', handle)
    assert (again.code, again.err[-16:]) == (1, 'No such process\n')
    unknown = ctl('program', 'attach', 'vm-1', 'nope')
    assert unknown.code == 125
    assert "there is no program 'nope'" in unknown.err
    assert 'goes on' not in unknown.err


def test_a_handle_does_not_steer_the_terminal(
    programs: Any, ctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = {'handle': 'p\x1b[2J', 'pid': 1}
    monkeypatch.setattr(programs, 'spawn', lambda *_, **_arguments: made_up)

    assert ctl('exec', 'vm-1', '--detach', '--', 'x') == (0, b'p\\x1b[2J\n', '')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--detach', '--tty', '--', 'x'], '--detach cannot stand beside --tty'),
        (['--shell', '--script', 'f'], '--shell cannot stand beside --script'),
        ([], 'no command to run: write it after --'),
    ],
)
def test_wrong_usage(ctl: Any, arguments: list[str], message: str) -> None:
    ended = ctl('exec', 'vm-1', *arguments)

    assert ended.code == 2
    assert message in ended.err


@pytest.mark.parametrize('option', ['--tty', '--detach'])
def test_an_older_guest_can_only_run(guest: Any, ctl: Any, option: str) -> None:
    ended = ctl('exec', 'vm-1', option, '--', 'x')

    assert ended.code == 125
    assert "does not serve 'exec' in version 1.1" in ended.err


def part(data: bytes = b'', eof: bool = False, lost: int = 0) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {'data': text, 'next': len(data), 'eof': eof, 'lost': lost}


class Guests:
    """A client that answers with what it was given."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, instance: str, command: str, arguments: Any, **options: Any) -> Any:
        self.asked.append((command, arguments))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer


def shown(
    *answers: Any, happened: console.Happened | None = None
) -> tuple[console.Console, Guests, dict[str, io.BytesIO]]:
    guests, outputs = Guests(*answers), {'stdout': io.BytesIO(), 'stderr': io.BytesIO()}
    made: Any = guests
    queue = happened or console.Happened()
    return console.Console(made, 'vm-1', 'p1', 10, outputs, queue), guests, outputs


def test_what_was_lost_is_counted() -> None:
    end = {'stdout': part(b'c', True, 3), 'stderr': part(eof=True), 'status': {'a': 1}}
    made, _guests, outputs = shown(
        {'stdout': part(b'ab', lost=2), 'stderr': part(b'e'), 'status': {}}, end
    )

    assert made.follow() == {'a': 1}
    assert made.lost == {'stdout': 5, 'stderr': 0}
    assert [each.getvalue() for each in outputs.values()] == [b'abc', b'e']


def test_an_error_of_the_guest_is_raised() -> None:
    made, _guests, _outputs = shown(errors.NoSuchRecord('gone'))

    with pytest.raises(errors.NoSuchRecord):
        made.follow()


def test_ctrl_c_is_passed_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = console.Happened()
    made, guests, _outputs = shown(happened=happened)
    monkeypatch.setattr(made, '_watch', lambda: None)

    def follow() -> None:
        with console.hearing(happened):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            made.follow(forward=True)

    with pytest.raises(KeyboardInterrupt):
        follow()
    made.signal('SIGKILL')
    processes.wait_for(lambda: len(guests.asked) == 2, 'both were sent')
    sent = [arguments['signal'] for command, arguments in guests.asked]
    assert sorted(sent) == ['SIGINT', 'SIGKILL']


def test_ctrl_c_while_it_starts_reaches_the_program(
    programs: Any, ctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = programs.spawn

    def slow(context: extension.Context, **arguments: Any) -> Any:
        started = spawn(context, **arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return started

    monkeypatch.setattr(programs, 'spawn', slow)

    assert ctl('exec', 'vm-1', '--', 'sleep', '600') == (130, b'', '')
    assert programs.list(extension.Context()) == []
    assert ctl('exec', 'vm-1', '--detach', '--', 'sleep', '600').code == 130
    [left] = programs.list(extension.Context())
    processes.wait_for(
        lambda: not programs.status(extension.Context(), left['handle'])['running'],
        'it was killed',
    )


def answered(*steps: str) -> tuple[Any, bool, list[str]]:
    """Return the answer, whether Ctrl-C stands there, and what was done, to steps."""
    happened, done, go = console.Happened(), [], threading.Event()
    answer = None

    def call() -> str:
        if 'c' in steps:
            os.kill(os.getpid(), signal.SIGINT)
            go.wait(30)
        if 'again' in steps:
            os.kill(os.getpid(), signal.SIGINT)
        if 'fails' in steps:
            raise errors.Cancelled('x')
        if 'hangs' in steps:
            threading.Event().wait()
        return 'answer'

    def cancel() -> None:
        done.append('cancelled')
        go.set()

    with console.hearing(happened):
        try:
            answer = console.answer(happened, call, cancel)
        except KeyboardInterrupt:
            done.append('ended')
    return answer, not happened.empty(), done


def test_ctrl_c_while_a_guest_is_asked() -> None:
    assert answered() == ('answer', False, [])
    assert answered('c') == ('answer', True, ['cancelled'])
    assert answered('c', 'fails') == (None, False, ['cancelled', 'ended'])
    assert answered('c', 'again', 'hangs') == (None, False, ['cancelled', 'ended'])
    with pytest.raises(errors.Cancelled):
        answered('fails')


def test_a_key_leaves_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    made, guests, _outputs = shown({'complete': True})
    monkeypatch.setattr(made, '_watch', lambda: None)
    typed = [b'ls\r', b'\x1d', b'more']

    made.feed(lambda: typed.pop(0), escape=True)

    with pytest.raises(console.Left):
        made.follow()
    assert [command for command, _arguments in guests.asked] == ['exec.write']


def test_input_is_sent_again_until_all_was_taken() -> None:
    taken = [{'complete': False}, {'complete': True}, {'complete': True}]
    made, guests, _outputs = shown(*taken)
    given = [b'abc', b'de', b'']

    made.feed(lambda: given.pop(0))

    assert [
        (each['offset'], base64.b64decode(each.get('data', '')), 'close' in each)
        for _command, each in guests.asked
    ] == [(0, b'abc', False), (0, b'abc', False), (3, b'de', False), (5, b'', True)]
