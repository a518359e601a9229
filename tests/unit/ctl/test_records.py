# SPDX-License-Identifier: Apache-2.0
"""Choosing among records, deleting an instance, watching and cancelling a command."""

import io
import json
import time
from typing import Any

import pytest

from guestagent import errors
from guestagent.ctl import watch

SLEEPER = {
    'command_id': 'c-9',
    'caller': 'tester',
    'command': 'exec.run',
    'state': 'running',
    'seconds': 1.25,
    'percent': 40.0,
    'text': 'disk 2 of 5',
}
MISSING = errors.NoSuchRecord('no outcome yet')


def test_instance_list_asks_for_what_is_wanted(conductor: Any, ctl: Any) -> None:
    ctl(
        *('instance', 'list', '--name', 'web-*', '--extension', 'exec'),
        *('--agent-version', '0.1.0', '--conflict'),
    )

    assert conductor.asked == {
        'name': 'web-*',
        'extension': 'exec',
        'agent_version': '0.1.0',
        'conflict': True,
    }


def test_command_list_asks_for_what_is_wanted(conductor: Any, ctl: Any) -> None:
    before = time.time()
    ended = ctl(
        *('command', 'list', '--of', 'me', '--command', 'exec.*', '-f', 'json'),
        *(
            '--outcome',
            'failed',
            '--since',
            '2h',
            '--until',
            '2026-01-01T00:00:00+01:00',
        ),
    )

    assert json.loads(ended.out)[0]['instance'] == 'vm-1'
    assert before - 7200 <= conductor.asked.pop('since') <= time.time() - 7200
    assert conductor.asked == {
        'caller': 'me',
        'command': 'exec.*',
        'outcome': 'failed',
        'until': 1767222000.0,
    }


def test_the_last_events(conductor: Any, ctl: Any) -> None:
    ended = ctl('event', 'list', '--last', '2', '-f', 'value', '-c', 'id')

    assert ended.out == b'249\n250\n'


def test_what_a_guest_is_at_work_on(guest: Any, ctl: Any) -> None:
    guest.running += [SLEEPER, {**SLEEPER, 'caller': 'other'}]

    ended = ctl('command', 'list', 'vm-1', '--running', '--of', 'tester', '-f', 'json')

    assert json.loads(ended.out) == [{**SLEEPER, 'seconds': 1.2}]


def test_cancel(guest: Any, ctl: Any) -> None:
    guest.running += [SLEEPER]

    other = ctl('command', 'cancel', 'vm-1', 'c-9', '--of', 'other')
    own = ctl('command', 'cancel', 'vm-1', 'c-9')

    assert (other.code, other.out) == (3, b'')
    assert 'is at work on no command' in other.err
    assert (own.code, own.out, own.err) == (0, b'cancelled c-9\n', '')
    assert guest.running == []


def test_delete(conductor: Any, ctl: Any) -> None:
    ended = ctl('instance', 'delete', 'vm-2', '--yes')

    assert (ended.code, ended.err) == (0, '')
    assert ended.out == b'deleted vm-2, which was DOWN\n'
    assert list(conductor.instances) == ['vm-1']


def test_delete_of_one_that_is_up(conductor: Any, ctl: Any) -> None:
    refused = ctl('instance', 'delete', 'vm-1', '--yes')
    assert (refused.code, refused.out) == (5, b'')
    assert refused.err == "guestctl: instance 'vm-1' is UP: force it with --force\n"

    assert ctl('instance', 'delete', 'vm-1', '--yes', '--force').code == 0


class Terminal(io.StringIO):
    """What is typed, as if on a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ('typed', 'code', 'left'),
    [('y\n', 0, 1), ('YES\n', 0, 1), ('\n', 1, 2), ('no\n', 1, 2), ('', 1, 2)],
)
def test_delete_asks_a_person(
    conductor: Any,
    ctl: Any,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: int,
    left: int,
) -> None:
    monkeypatch.setattr('sys.stdin', Terminal(typed))

    ended = ctl('instance', 'delete', 'vm-2')

    assert ended.code == code
    assert ended.err.startswith('Forget vm-2, which is DOWN, and all that was recorded')
    assert ('nothing was deleted' in ended.err) == (code == 1)
    assert len(conductor.instances) == left


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long pauses in :mod:`guestagent.ctl.watch`."""
    monkeypatch.setattr(watch, '_INTERVAL', 0.01)
    monkeypatch.setattr(watch, '_ON_ITS_WAY', 0.1)


@pytest.mark.usefixtures('quick')
@pytest.mark.parametrize(('outcome', 'code'), [('done', 0), ('failed', 1)])
def test_watch(guest: Any, conductor: Any, ctl: Any, outcome: str, code: int) -> None:
    guest.running += [SLEEPER]
    conductor.steps = [MISSING, errors.Transient('down'), MISSING]
    conductor.outcome = outcome

    ended = ctl('command', 'watch', 'vm-1', 'c-9', '-f', 'json')

    assert (ended.code, ended.err) == (code, '')
    record = json.loads(ended.out)
    assert (record['command_id'], record['caller']) == ('c-9', 'tester')
    assert conductor.steps == []


@pytest.mark.usefixtures('quick')
def test_watch_of_a_call_that_was_answered_to_its_caller(
    guest: Any, conductor: Any, ctl: Any
) -> None:
    guest.running += [
        {'command_id': 'c-9', 'caller': 'me', 'state': 'failed', 'error': 'disk full'}
    ]
    conductor.steps = [MISSING] * 1000

    ended = ctl('command', 'watch', 'vm-1', 'c-9', '--of', 'me', '-f', 'json')

    assert ended.code == 1
    record = json.loads(ended.out)
    assert (record['outcome'], record['error']) == ('failed', 'disk full')


@pytest.mark.usefixtures('quick')
def test_watch_of_what_nobody_knows(guest: Any, conductor: Any, ctl: Any) -> None:
    ended = ctl('command', 'watch', 'vm-1', 'none')

    assert (ended.code, ended.out) == (3, b'')
    assert "no command 'none' of 'vm-1'" in ended.err


@pytest.mark.usefixtures('quick')
def test_watch_has_an_end(guest: Any, conductor: Any, ctl: Any) -> None:
    guest.running += [SLEEPER]
    conductor.steps = [MISSING] * 1000

    ended = ctl('command', 'watch', 'vm-1', 'c-9', '--wait-timeout', '0.2')

    assert (ended.code, ended.out) == (4, b'')
    assert 'no outcome of command c-9 within 0.2 s: it is running ' in ended.err


@pytest.mark.usefixtures('quick')
def test_watch_where_nobody_answers(ctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, '_ANSWER', 0.2)

    ended = ctl('command', 'watch', 'vm-1', 'c-9')

    assert (ended.code, ended.out) == (4, b'')
    assert 'the conductor did not answer within 0.2 s' in ended.err
