# SPDX-License-Identifier: Apache-2.0
"""call, cast and ping."""

import json
import re
from typing import Any

import pytest


@pytest.mark.parametrize(
    ('arguments', 'sent'),
    [
        ([], {}),
        (['a=1', 'b=text', 'c=', 'd=x=y'], {'a': 1, 'b': 'text', 'c': '', 'd': 'x=y'}),
        (
            ['a="1"', 'b=[1, "x"]', 'c=null', 'd=true'],
            {'a': '1', 'b': [1, 'x'], 'c': None, 'd': True},
        ),
        (['a=NaN'], {'a': 'NaN'}),
        (['--json', '{"a": {"b": 1}, "c": 2}', 'c=3'], {'a': {'b': 1}, 'c': 3}),
        (['a=ö'], {'a': 'ö'}),
    ],
)
def test_call(guest: Any, ctl: Any, arguments: list[str], sent: dict[str, Any]) -> None:
    ended = ctl('call', 'vm-1', 'test.echo', *arguments)

    assert (ended.code, ended.err) == (0, '')
    assert json.loads(ended.out) == sent


@pytest.mark.parametrize(
    'arguments',
    [['novalue'], ['=1'], ['--json', '[]'], ['--json', '{'], ['--json', '{"a": NaN}']],
)
def test_call_with_bad_arguments(guest: Any, ctl: Any, arguments: list[str]) -> None:
    ended = ctl('call', 'vm-1', 'test.echo', *arguments)

    assert (ended.code, ended.out) == (2, b'')
    assert re.fullmatch('guestctl: .*; see guestctl call --help\n', ended.err)


def test_call_says_who_asks_and_with_which_id(guest: Any, ctl: Any) -> None:
    guest.answer = 'x'

    ctl('--caller', 'me', 'call', '--id', 'id-1', 'vm-1', 'exec.run')

    assert guest.contexts == [
        {'guestagent_caller': 'me', 'guestagent_command_id': 'id-1'}
    ]


def test_cast(guest: Any, ctl: Any) -> None:
    ended = ctl('cast', 'vm-1', 'test.echo', 'a=1', '-f', 'json')

    assert ended.code == 0
    printed = json.loads(ended.out)
    assert printed['instance'] == 'vm-1'
    assert re.fullmatch('[0-9a-f]{32}', printed['command_id'])


@pytest.mark.parametrize(
    ('outcome', 'code'),
    [('done', 0), ('withheld', 0), ('failed', 1), ('interrupted', 1)],
)
def test_cast_that_waits(
    guest: Any, conductor: Any, ctl: Any, outcome: str, code: int
) -> None:
    conductor.outcome = outcome

    ended = ctl('cast', 'vm-1', 'test.echo', '--id', 'id-1', '--wait', '-f', 'json')

    assert ended.code == code
    record = json.loads(ended.out)
    assert (record['command_id'], record['caller'], record['outcome']) == (
        'id-1',
        'tester',
        outcome,
    )


def test_cast_that_waits_in_vain(guest: Any, conductor: Any, ctl: Any) -> None:
    ended = ctl(
        'cast', 'vm-1', 'test.echo', '--id', 'none', '--wait', '--wait-timeout', '0.3'
    )

    assert (ended.code, ended.out) == (4, b'')
    assert ended.err.count('\n') == 1
    assert 'no outcome of command none within 0.3 s' in ended.err


def test_ping(guest: Any, ctl: Any) -> None:
    ended = ctl('ping', 'vm-1')

    assert ended.code == 0
    assert re.fullmatch(rb'vm-1 answered in [0-9.]+ ms\n', ended.out)


@pytest.mark.parametrize(
    ('value', 'form', 'printed'),
    [
        ({'a': [1, 'ö']}, 'json', '{\n  "a": [\n    1,\n    "ö"\n  ]\n}\n'),
        ({'a': [1, 'ö']}, 'yaml', 'a:\n- 1\n- ö\n'),
        ({'a': [1, 'ö']}, 'value', '{"a": [1, "ö"]}\n'),
        ('text', 'json', '"text"\n'),
        ('text', 'yaml', 'text\n'),
        ('text', 'value', 'text\n'),
        ('a line\n', 'value', 'a line\n'),
        (None, 'yaml', 'null\n'),
        (True, 'value', 'true\n'),
    ],
)
def test_call_formats(
    guest: Any, ctl: Any, value: Any, form: str, printed: str
) -> None:
    ended = ctl(
        'call', 'vm-1', 'test.give', '--json', json.dumps({'value': value}), '-f', form
    )

    assert (ended.code, ended.err) == (0, '')
    assert ended.out.decode() == printed
