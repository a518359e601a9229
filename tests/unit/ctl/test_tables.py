# SPDX-License-Identifier: Apache-2.0
"""Commands that print what the conductor or a guest knows."""

import json
from typing import Any

import pytest

TIME = '2026-01-02T03:04:05Z'


def table(out: bytes) -> list[list[str]]:
    """Return the cells of a printed table, the head first."""
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in out.decode().splitlines()
        if line.startswith('|')
    ]


def test_instance_list(conductor: Any, ctl: Any) -> None:
    ended = ctl('instance', 'list')

    assert (ended.code, ended.err) == (0, '')
    assert table(ended.out) == [
        ['id', 'state', 'agent_version', 'last_seen', 'extensions', 'conflict'],
        ['vm-1', 'UP', '0.1.0', TIME, 'exec, monitoring', ''],
        ['vm-2', 'DOWN', '0.1.0', TIME, 'exec, monitoring', f'since {TIME}'],
    ]


def test_a_conflict_has_its_details_for_programs(conductor: Any, ctl: Any) -> None:
    ended = ctl('instance', 'list', '-f', 'json')

    assert [record['conflict'] for record in json.loads(ended.out)] == [
        None,
        {'since': TIME, 'generations': [2, 1], 'boot_ids': ['b', 'a']},
    ]


def test_instance_list_by_state(conductor: Any, ctl: Any) -> None:
    ended = ctl('instance', 'list', '--state', 'down', '-f', 'value', '-c', 'id')

    assert (ended.code, ended.out) == (0, b'vm-2\n')


def test_instance_list_of_many_pages(conductor: Any, ctl: Any) -> None:
    one = conductor.instances['vm-1']
    conductor.instances = {
        name: {**one, 'id': name}
        for name in (f'vm-{number:05}' for number in range(2500))
    }

    ended = ctl('instance', 'list', '-f', 'csv', '-c', 'id', '--quote', 'none')

    assert ended.code == 0
    assert ended.out.decode().split() == ['id', *sorted(conductor.instances)]


@pytest.mark.parametrize('arguments', [(), ('-f', 'yaml')])
def test_instance_list_of_none(
    conductor: Any, ctl: Any, arguments: tuple[str, ...]
) -> None:
    conductor.instances = {}

    assert ctl('instance', 'list', *arguments).code == 0


def test_instance_show(conductor: Any, ctl: Any) -> None:
    people = ctl('instance', 'show', 'vm-1')
    script = ctl('instance', 'show', 'vm-1', '-f', 'json')

    assert ['extensions', 'exec'] in table(people.out)
    assert json.loads(script.out)['extensions']['exec']['health'] == 'ok'


def test_facts_as_json_keep_their_types(conductor: Any, ctl: Any) -> None:
    ended = ctl('facts', 'vm-1', '-f', 'json')

    assert {row['key']: row['value'] for row in json.loads(ended.out)} == {
        'monitoring.cpus': 2,
        'monitoring.hostname': 'böx',
        'monitoring.nics': [{'name': 'eth0'}],
        'other.flag': True,
    }


def test_facts_for_people(conductor: Any, ctl: Any) -> None:
    rows = table(ctl('facts', 'vm-1', '-f', 'table', 'monitoring.').out)

    assert [row[:2] for row in rows[1:]] == [
        ['monitoring.cpus', '2'],
        ['monitoring.hostname', 'böx'],
        ['monitoring.nics', '[{"name": "eth0"}]'],
    ]


def test_extension_list(conductor: Any, ctl: Any) -> None:
    assert table(ctl('extension', 'list', 'vm-1').out)[1] == [
        'exec',
        '1.0',
        'ok',
        'guestagent-exec',
        '0.1.0',
    ]


def test_extension_show(guest: Any, ctl: Any) -> None:
    people = ctl('extension', 'show', 'vm-1', 'exec')
    script = ctl('extension', 'show', 'vm-1', 'exec', '-f', 'json')

    assert ['commands', 'run: Run a program.'] in table(people.out)
    assert json.loads(script.out)['commands'][0]['arguments'][1]['default'] == '/'


def test_extension_show_command(guest: Any, ctl: Any) -> None:
    rows = table(ctl('extension', 'show', 'vm-1', 'exec', 'run').out)

    start = rows.index(['arguments', 'argv: list[str]'])
    assert rows[start + 1] == ['', "cwd: str = '/'"]


def test_instance_diagnose(guest: Any, ctl: Any) -> None:
    people = ctl('instance', 'diagnose', 'vm-1').out.decode().splitlines()
    script = ctl('instance', 'diagnose', 'vm-1', '-f', 'json')

    assert 'bus: amqp, not connected, connected 2 times' in people
    assert people[-2:] == ['thread worker, at exec.\\x1b for 1 s', '    a:1 b']
    assert json.loads(script.out)['threads'][0]['name'] == 'worker'


def test_command_list_and_show(conductor: Any, ctl: Any) -> None:
    assert table(ctl('command', 'list', 'vm-1').out)[1][0] == 'c-1'
    assert ['result', '{"a": 1}'] in table(ctl('command', 'show', 'vm-1', 'c-1').out)


def test_event_list(conductor: Any, ctl: Any) -> None:
    ended = ctl('event', 'list', '--instance', 'vm-1', '--after', '249', '-f', 'json')

    assert json.loads(ended.out) == [
        {
            'id': 250,
            'instance': 'vm-1',
            'at': '2026-01-02T03:04:05Z',
            'type': 'test.happened',
            'data': {'a': 250},
        }
    ]


@pytest.mark.parametrize(('limit', 'shown'), [('3', 3), ('1000', 250)])
def test_event_list_up_to_a_limit(
    conductor: Any, ctl: Any, limit: str, shown: int
) -> None:
    ended = ctl('event', 'list', '--limit', limit, '-f', 'value', '-c', 'id')

    assert ended.out.decode().split() == [str(number) for number in range(1, shown + 1)]
