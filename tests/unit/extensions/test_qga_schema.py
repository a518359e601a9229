# SPDX-License-Identifier: Apache-2.0
"""The table of the qga channel, and what it makes of arguments."""

import csv
import importlib
import pathlib
from typing import Any

import pytest
from guestagent_qga import checking, errors, schema


def test_all_commands_of_qemu_ga_are_there():
    assert len(schema.COMMANDS) == 44
    assert next(iter(schema.COMMANDS)) == 'guest-sync-delimited'
    silent = {name for name, each in schema.COMMANDS.items() if not each.answers}
    assert silent == {
        'guest-shutdown',
        'guest-suspend-disk',
        'guest-suspend-ram',
        'guest-suspend-hybrid',
    }


@pytest.mark.parametrize(
    'command', [each for each in schema.COMMANDS.values() if each.topic]
)
def test_each_has_a_function(command: schema.Command):
    module = importlib.import_module(f'guestagent_qga.commands.{command.topic}')

    assert getattr(module, command.function).__doc__


def test_each_type_is_known():
    types = schema.types()
    named = {
        name.strip('[]')
        for each in schema.COMMANDS.values()
        for name in (*(member.type for member in each.arguments), each.returns)
    }
    for each in types.values():
        named |= {member.type.strip('[]') for member in each.members}
        named |= {*each.choices, *(kind for _, kind in each.cases)}

    assert named - {''} <= {*types, *schema.SIMPLE}
    # Nor is there one that nobody needs.
    assert set(types) <= named


@pytest.mark.parametrize(
    ('name', 'arguments', 'text'),
    [
        ('guest-sync', {}, "Parameter 'id' is missing"),
        ('guest-ping', {'a': 1}, "Parameter 'a' is unexpected"),
        (
            'guest-sync',
            {'id': True},
            "Invalid parameter type for 'id', expected: integer",
        ),
        (
            'guest-exec',
            {'path': '/x', 'capture-output': 1},
            "Invalid parameter type for 'capture-output', expected: "
            'GuestExecCaptureOutput',
        ),
        (
            'guest-exec',
            {'path': '/x', 'capture-output': 'all'},
            "Parameter 'capture-output' does not accept value 'all'",
        ),
        (
            'guest-set-memory-blocks',
            {'mem-blks': [{'phys-index': 'x', 'online': True}]},
            "Parameter 'mem-blks[0].phys-index' expects uint64",
        ),
    ],
)
def test_what_does_not_fit(name: str, arguments: dict[str, Any], text: str):
    with pytest.raises(errors.CommandError) as caught:
        checking.check(schema.COMMANDS[name], arguments)

    assert str(caught.value) == text


@pytest.mark.parametrize('capture', [True, False, 'merged'])
def test_what_fits(capture: Any):
    arguments = {'path': '/x', 'arg': ['a'], 'capture-output': capture}

    assert checking.check(schema.COMMANDS['guest-exec'], arguments) == arguments


def test_the_documentation_shows_the_table():
    doc = pathlib.Path(__file__).parents[3] / 'doc/qga-commands.csv'
    with doc.open(newline='') as file:
        shown = list(csv.reader(file))

    rows = [
        [name, *schema.describe(each)]
        for name, each in schema.COMMANDS.items()
        if each.topic
    ]
    assert shown == [['command', 'arguments', 'returns'], *rows]
