# SPDX-License-Identifier: Apache-2.0
"""event list --follow and facts --watch: rows as they come, in each format."""

import csv
import json
import re
from typing import Any

import pytest
import yaml

from guestagent import errors


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        'id': number,
        'instance': 'vm-1',
        'at': '2026-01-02T03:04:05Z',
        'type': 'test.happened',
        'data': {'a': number},
        **more,
    }


def test_follow_begins_with_the_last_ten(conductor: Any, ctl: Any) -> None:
    ended = ctl('event', 'list', '--follow', '--limit', '10', '-f', 'value', '-c', 'id')

    assert (ended.code, ended.err) == (0, '')
    assert ended.out.split() == [b'%d' % number for number in range(241, 251)]


@pytest.mark.parametrize(
    ('begin', 'first'), [(('--after', '7'), b'8'), (('--last', '3'), b'248')]
)
def test_follow_begins_where_it_is_told(
    conductor: Any, ctl: Any, begin: tuple[str, str], first: bytes
) -> None:
    ended = ctl('events', '--follow', *begin, '--limit', '2', '-f', 'value', '-c', 'id')

    assert ended.out.split()[0] == first


def test_follow_asks_for_what_is_wanted(conductor: Any, ctl: Any) -> None:
    ctl(
        *('event', 'list', '--follow', '--limit', '1', '--instance', 'vm-1'),
        *('--type', 'instance.*', '--since', '1970-01-01T01:00'),
    )

    assert conductor.asked == {'type': 'instance.*', 'since': 3600.0}


def test_follow_goes_on_when_the_conductor_was_away(conductor: Any, ctl: Any) -> None:
    conductor.steps = [
        [event(1)],
        [event(1)],
        errors.Transient('the database\nis away'),
        errors.Transient('the database is away'),
        [event(1), event(2), event(3)],
    ]

    ended = ctl('event', 'list', '--follow', '--limit', '3', '-f', 'json', '-c', 'id')

    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {'id': 1},
        {'id': 2},
        {'id': 3},
    ]
    assert ended.err == (
        'guestctl: the database is away; still trying\n'
        'guestctl: the conductor answers again\n'
    )


def test_follow_ends_when_its_instance_is_deleted(conductor: Any, ctl: Any) -> None:
    conductor.steps = [[], [event(1)], errors.NoSuchInstance('gone')]

    ended = ctl('event', 'list', '--follow', '--instance', 'vm-1', '-f', 'value')

    assert (ended.code, ended.err) == (3, 'guestctl: gone\n')
    assert ended.out.startswith(b'1 vm-1 ')


STEPS = [
    {
        'a': {'value': 'x\ny\x1b[2J', 'updated': 't0'},
        'b': {'value': [1], 'updated': 't0'},
    },
    {'a': {'value': None, 'updated': 't1'}},
    errors.NoSuchInstance('gone'),
]
ROWS = [
    {'updated': 't0', 'change': 'known', 'key': 'a', 'value': 'x\ny\x1b[2J'},
    {'updated': 't0', 'change': 'known', 'key': 'b', 'value': [1]},
    {'updated': 't1', 'change': 'changed', 'key': 'a', 'value': None},
    {'updated': None, 'change': 'removed', 'key': 'b', 'value': [1]},
]


def watch(conductor: Any, ctl: Any, form: str) -> str:
    conductor.steps = list(STEPS)
    ended = ctl('facts', 'vm-1', '--watch', '-f', form)
    assert (ended.code, ended.err) == (3, 'guestctl: gone\n')
    return ended.out.decode()


def test_watch_for_programs(conductor: Any, ctl: Any) -> None:
    lines = watch(conductor, ctl, 'json').splitlines()
    assert [json.loads(line) for line in lines] == ROWS

    assert yaml.safe_load(watch(conductor, ctl, 'yaml')) == ROWS

    rows = list(csv.DictReader(watch(conductor, ctl, 'csv').splitlines()))
    assert [row['change'] for row in rows] == ['known', 'known', 'changed', 'removed']


def test_watch_for_people(conductor: Any, ctl: Any) -> None:
    lines = watch(conductor, ctl, 'table').splitlines()

    assert [re.split(' {2,}', line.strip()) for line in lines] == [
        ['updated', 'change', 'key', 'value'],
        ['t0', 'known', 'a', r'x\ny\x1b[2J'],
        ['t0', 'known', 'b', '[1]'],
        ['t1', 'changed', 'a'],
        ['removed', 'b', '[1]'],
    ]
    assert {line.index('key') for line in lines[:1]} == {
        line.index('a', 30) for line in lines[1:2]
    }


def test_watch_as_values_is_one_line_each(conductor: Any, ctl: Any) -> None:
    assert watch(conductor, ctl, 'value').splitlines()[0] == r't0 known a x\ny\x1b[2J'
