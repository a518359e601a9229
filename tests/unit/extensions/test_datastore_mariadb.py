# SPDX-License-Identifier: Apache-2.0
"""What the MariaDB engine does without a server: names, values, lines of files."""

from __future__ import annotations

from typing import Any

import pytest
from guestagent_datastore import extension
from guestagent_datastore.commands import replication, values
from guestagent_datastore.engines import mariadb
from guestagent_datastore.engines.mariadb import paging, sql, variables
from hypothesis import given, strategies

from guestagent import errors


@given(strategies.text())
def test_a_name_in_backticks_ends_where_it_should(name: str) -> None:
    quoted = sql.identifier(name)
    assert quoted[0] == quoted[-1] == '`'
    assert quoted[1:-1].replace('``', '') == name.replace('`', '')
    assert sql.from_pattern(sql.pattern(name)[1:-1].replace('``', '`')) == name


def test_a_hash_is_the_servers() -> None:
    # SELECT PASSWORD('hunter2')
    assert sql.password_hash('hunter2') == '*58815970BE77B3720276F63DB198B1FA42E5CC02'


def variable(kind: str, *more: Any, **fields: Any) -> variables.Variable:
    row = ['x', None, kind, None, None, None, 'NO', 'REQUIRED']
    row[3 : 3 + len(more)] = more
    return variables.Variable.from_row(tuple(row))


@pytest.mark.parametrize(
    ('found', 'given_value', 'typed'),
    [
        (variable('BOOLEAN'), 'On', True),
        (variable('BOOLEAN'), 0, False),
        (variable('BIGINT UNSIGNED', '0', '18446744073709551615'), '16E', 2**64),
        (variable('BIGINT UNSIGNED', '0', '18446744073709551615'), '2m', 2 * 1024**2),
        (variable('INT', '-5', '5'), -5, -5),
        (variable('DOUBLE', '0', '1e3'), '2.5', 2.5),
        (variable('ENUM', None, None, 'A,B'), 'b', 'B'),
        (variable('ENUM', None, None, 'A,B'), 0, 'A'),
        (variable('SET', None, None, 'A,B'), 'a,B', 'a,B'),
        (variable('SET', None, None, 'A,B'), '', ''),
        (variable('FLAGSET', None, None, 'm,n'), 'm=on,n=off', 'm=on,n=off'),
        (variable('VARCHAR'), True, 'ON'),
        (variable('VARCHAR'), 5, '5'),
    ],
)
def test_values_as_the_server_takes_them(
    found: variables.Variable, given_value: Any, typed: Any
) -> None:
    if typed == 2**64:
        with pytest.raises(errors.InvalidArgument, match='is not between'):
            found.typed(given_value)
    else:
        assert found.typed(given_value) == typed


@given(strategies.text(strategies.characters(min_codepoint=0x20)))
def test_a_line_of_a_file_stays_one(text: str) -> None:
    line = variables.option('x', text)
    assert line.startswith('x = "')
    body = line[5:-1].replace('\\\\', '').replace('\\"', '')
    assert '"' not in body
    assert '\\' not in body


def test_parts_of_lists() -> None:
    assert paging.page([1, 2, 3], 2, str).next_marker == '2'
    assert paging.page([1, 2], 2, str).next_marker is None
    assert paging.page([], None, str).items == ()


@pytest.mark.parametrize(
    ('users', 'message'),
    [
        ([{'name': 'a', 'password': 'b', 'databases': 'c'}], 'not a list of names'),
        ([{'name': 'a', 'password': 5}], 'password is no text'),
        ([{'name': 'a', 'password': 'b', 'rights': 'c'}], "no field 'rights'"),
        ([{'password': 'b'}], 'name is missing'),
    ],
)
def test_what_is_no_user_is_refused(users: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        values.users(users)


def test_a_source_is_read() -> None:
    fields = {'host': 'a', 'port': 1, 'user': 'b', 'password': 'hunter2'}
    source = replication.source_of(fields)
    assert (source.host, source.position) == ('a', '')
    assert 'hunter2' not in repr(source)
    with pytest.raises(errors.InvalidArgument, match='its fields are'):
        replication.source_of(fields | {'more': 'x'})


@pytest.mark.parametrize('kind', [extension.Datastore, mariadb.MariaDB])
def test_no_part_of_a_class_hides_a_name_of_another(kind: type) -> None:
    """They are written apart, and each calls what is its own by any name."""
    parts = [part for part in kind.__mro__ if part.__module__.startswith('guestagent_')]
    names = [
        name
        for part in parts
        for name in vars(part)
        if name.startswith('_') and not name.startswith('__')
    ]
    assert not {name for name in names if names.count(name) > 1}
