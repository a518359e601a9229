# SPDX-License-Identifier: Apache-2.0
"""The steps of the tables: what a database of any version holds survives them."""

from typing import Any

import pytest
import sqlalchemy as sa
from alembic import autogenerate, config, script
from alembic.runtime import migration

from guestagent.conductor.db import engine, queries, store, tables

Rows = list[dict[str, Any]]

#: What a conductor of the first version left; ``quiet`` has sent no heartbeat.
FIRST: dict[str, Rows] = {
    'instances': [
        {
            'id': 'old',
            'state': 'UP',
            'first_seen': 1.0,
            'last_seen': 2.0,
            'generations': 2,
            'heartbeat_generation': 2,
            'heartbeat_sequence': 7,
            'boot_id': 'boot',
            'facts_generation': 2,
            'facts_sequence': 3,
        },
        {
            'id': 'quiet',
            'state': 'NEW',
            'first_seen': 1.0,
            'last_seen': 2.0,
            'generations': 1,
            'heartbeat_generation': 0,
            'heartbeat_sequence': 0,
            'facts_generation': 0,
            'facts_sequence': 0,
        },
    ],
    'generations': [
        {'instance': 'old', 'generation': 'zero', 'number': 1, 'met': 1.0},
        {'instance': 'old', 'generation': 'one', 'number': 2, 'met': 1.0},
        {'instance': 'quiet', 'generation': 'one', 'number': 1, 'met': 1.0},
    ],
    'extensions': [
        {
            'instance': 'old',
            'name': 'exec',
            'version': '1.0',
            'health': 'ok',
            'distribution': 'guestagent-exec',
            'distribution_version': '0.1.0',
        }
    ],
    'facts': [
        {
            'instance': 'old',
            'name': 'x.a',
            'generation': 2,
            'sequence': 4,
            'value': '"kept"',
            'updated': 1.0,
        }
    ],
    'commands': [
        {
            'instance': 'old',
            'caller': '',
            'command_id': 'c',
            'digest': 'd',
            'generation': 2,
            'sequence': 1,
            'command': 'exec.run',
            'outcome': 'done',
            'result': '"kept"',
            'error': 'null',
            'received': 1.0,
        }
    ],
    'events': [
        {
            'instance': 'old',
            'generation': generation,
            'sequence': sequence,
            'type': kind,
            'at': 1.0,
            'received': 1.0,
            'data': '{}',
        }
        # The last two are the conductor's own.
        for kind, generation, sequence in (
            ('test.x', 2, 1),
            ('instance.down', None, None),
            ('instance.up', None, None),
        )
    ],
}


def _with(rows: dict[str, Rows], table: str, *added: dict[str, Any]) -> dict[str, Rows]:
    """Return rows with more columns, given for each row of ``table`` in order."""
    changed = [{**row, **more} for row, more in zip(rows[table], added, strict=True)]
    return {**rows, table: changed}


SECOND = _with(
    _with(
        FIRST,
        'instances',
        {'facts_newest': 2, 'facts_ranges': '3-4', 'conflict': 1.5},
        {'facts_newest': 0, 'facts_ranges': None, 'conflict': None},
    ),
    'generations',
    {'boot_id': 'boot'},
    {'boot_id': 'boot'},
    {'boot_id': ''},
)
THIRD = _with(SECOND, 'events', {'report': '2-1'}, {'report': None}, {'report': None})
FOURTH = {
    **_with(
        THIRD,
        'instances',
        {'audit_length': 3, 'audit_head': 'ab', 'audit_kept': 1.0},
        {'audit_length': None, 'audit_head': None, 'audit_kept': None},
    ),
    'audit_heads': [{'instance': 'old', 'length': 3, 'head': 'ab', 'received': 1.0}],
}

FIFTH = {
    **FOURTH,
    'enrolments': [
        {'name': 'old', 'stamp': 7, 'vhost': 'v', 'bundle': 'b', 'expires': 1.0}
    ],
}

SIXTH = {
    **FIFTH,
    'points': [{'instance': 'old', 'name': 'a.b', 'at': 1.0, 'value': 2.5}],
}

#: By revision, what a database holds that was last used by it.
HELD = {
    '0001': FIRST,
    '0002': SECOND,
    '0003': THIRD,
    '0004': FOURTH,
    '0005': FIFTH,
    '0006': SIXTH,
}


def _revisions() -> list[str]:
    settings = config.Config()
    settings.set_main_option('script_location', 'guestagent.conductor:db')
    scripts = script.ScriptDirectory.from_config(settings).walk_revisions()
    return [each.revision for each in scripts][::-1]


def _fill(database: engine.Database, rows: dict[str, Rows]) -> None:
    """Write rows into tables as they are now, whatever the code knows of them."""
    metadata = sa.MetaData()
    with database.writer.begin() as connection:
        metadata.reflect(connection)
        for name, values in rows.items():
            for row in values:
                connection.execute(sa.insert(metadata.tables[name]), row)


def test_each_revision_has_something_to_hold():
    assert list(HELD) == _revisions()


@pytest.mark.parametrize('first', HELD)
def test_what_a_database_holds_survives_each_step(database_url, make, first):
    database = engine.Database(database_url)
    database.sync(first)
    _fill(database, HELD[first])
    database.sync()
    assert list(queries.instance(database, 'old')['extensions']) == ['exec']

    # The same agent goes on: it is the same generation, nothing is missing, and what
    # it reports again is there already.
    store.Store(database).apply(
        [
            make('heartbeat', 'old', sequence=8),
            make('facts', 'old', sequence=5, facts={'x.b': 1}),
            make('event', 'old', sequence=1),
            make('outcome', 'old', sequence=1, result='again'),
        ],
        100.0,
    )

    assert queries.instance(database, 'old')['generation'] == 2
    assert queries.instance(database, 'quiet')['state'] == 'NEW'
    assert queries.facts(database, 'old', '')['x.a']['value'] == 'kept'
    assert queries.command(database, 'old', 'c', '')['result'] == 'kept'
    kinds = [event['type'] for event in queries.events(database, 'old', None, 10)]
    assert kinds == ['test.x', 'instance.down', 'instance.up']
    with database.reader.begin() as connection:
        gap = connection.scalar(
            sa.select(tables.instances.c.facts_gap).where(
                tables.instances.c.id == 'old'
            )
        )
    assert gap is None
    database.close()


def test_a_database_that_stops_at_each_step_is_as_one_that_does_not(database_url):
    database = engine.Database(database_url)

    for revision in _revisions():
        database.sync(revision)

    _assert_known(database)
    database.close()


def test_the_migrations_make_the_tables_that_the_code_knows(database):
    _assert_known(database)


def _assert_known(database: engine.Database) -> None:
    with database.reader.connect() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={'compare_type': True}
        )
        assert autogenerate.compare_metadata(context, tables.metadata) == []


def test_tables_of_a_later_version_are_left_alone(database):
    with database.writer.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(engine.DatabaseError, match='later version'):
        database.sync()
