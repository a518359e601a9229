# SPDX-License-Identifier: Apache-2.0
"""Write a batch of reports: read what is known, decide, write what changed.

All of it is one transaction that first locks the rows of the batch's instances, in the
order of their ids, so that conductors that share the database take turns for each
instance and never wait for each other in a ring.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
import sqlalchemy.exc

from guestagent.conductor import report as reports
from guestagent.conductor import rules, state
from guestagent.conductor.db import engine, points, tables, upsert

#: How many instances' generations are remembered, to ask the database less.
_CACHE_SIZE = 200_000

#: How often a transaction that stood in another's way is tried.
_TRIES = 5

_INSTANCE_FIELDS = tuple(field.name for field in dataclasses.fields(state.Instance))
_instance_values = operator.attrgetter(*_INSTANCE_FIELDS)


class Store:
    """Applies batches; used by one thread."""

    def __init__(
        self, database: engine.Database, settings: rules.Settings = rules.DEFAULTS
    ) -> None:
        self._database = database
        self._settings = settings
        # Of each instance the generation that was the newest, and its number.
        self._newest: dict[str, tuple[state.GenerationKey, int]] = {}

    def apply(self, batch: Sequence[reports.Report], now: float) -> None:
        """Write what ``batch`` changes; when this returns it is on the disk.

        :param now: UNIX seconds.
        :raises sqlalchemy.exc.SQLAlchemyError: it did not work, and nothing of it was
            written.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._apply(batch, now)
                return
            except sqlalchemy.exc.DBAPIError as error:
                if not left or not engine.is_collision(error):
                    raise

    def _apply(self, batch: Sequence[reports.Report], now: float) -> None:
        with self._database.writer.begin() as connection:
            known = self._load(connection, batch, now)
            changes = rules.decide(batch, known, now, self._settings)
            _write(connection, changes, now)
        self._remember(changes)

    def check(self) -> None:
        """Return if the database answers.

        :raises sqlalchemy.exc.SQLAlchemyError: it does not.
        """
        with self._database.reader.connect() as connection:
            connection.execute(sa.select(1))

    def _load(
        self, connection: sa.Connection, batch: Sequence[reports.Report], now: float
    ) -> state.Known:
        known = state.Known(
            _lock_instances(connection, {report.instance for report in batch}, now)
        )
        self._load_generations(connection, batch, known)
        facts = {
            report.instance
            for report in batch
            if isinstance(report.data, reports.Facts)
        }
        _load_facts(connection, facts, known)
        _load_commands(connection, batch, known)
        return known

    def _load_generations(
        self,
        connection: sa.Connection,
        batch: Sequence[reports.Report],
        known: state.Known,
    ) -> None:
        missing: dict[state.GenerationKey, None] = {}
        for report in batch:
            key = (report.instance, report.generation, report.boot_id)
            known_key, number = self._newest.get(report.instance, (None, 0))
            # Only the newest keeps its number for certain, and a number above the
            # count is not of this database, but of one before.
            if (
                known_key == key
                and number == known.instances[report.instance].generations
            ):
                known.generations[key] = number
            else:
                missing[key] = None
        if not missing:
            return
        table = tables.generations
        for *names, number in connection.execute(
            sa.select(
                table.c.instance, table.c.generation, table.c.boot_id, table.c.number
            ).where(
                upsert.among(connection, table.c.instance, {key[0] for key in missing}),
                upsert.among(
                    connection, table.c.generation, {key[1] for key in missing}
                ),
            )
        ):
            instance, generation, boot_id = names
            key = (instance, generation, boot_id)
            known.generations[key] = number
            if number == known.instances[instance].generations:
                self._newest[instance] = (key, number)

    def _remember(self, changes: state.Changes) -> None:
        if len(self._newest) > _CACHE_SIZE:
            self._newest.clear()
        for numbers in (changes.generations, changes.renumbered):
            for key, number in numbers.items():
                self._newest[key[0]] = (key, number)


def _lock_instances(
    connection: sa.Connection, ids: set[str], now: float
) -> dict[str, state.Instance]:
    """Return the rows of all these instances, made if need be, and lock them."""
    found = _select_instances(connection, ids)
    missing = sorted(ids - found.keys())
    if missing:
        upsert.insert_missing(
            connection,
            tables.instances,
            ('id',),
            [
                _instance_row(state.Instance(instance, state.NEW, now, now))
                for instance in missing
            ],
        )
        # Another conductor may have been first.
        found.update(_select_instances(connection, missing))
    return found


def _select_instances(
    connection: sa.Connection, ids: Collection[str]
) -> dict[str, state.Instance]:
    table = tables.instances
    rows = connection.execute(
        sa.select(*(table.c[name] for name in _INSTANCE_FIELDS))
        .where(upsert.among(connection, table.c.id, sorted(ids)))
        .order_by(table.c.id)
        .with_for_update()
    )
    return {row[0]: state.Instance(*row) for row in rows.all()}


def _load_facts(
    connection: sa.Connection, instances: Collection[str], known: state.Known
) -> None:
    if not instances:
        return
    table = tables.facts
    for row in connection.execute(
        sa.select(
            table.c.instance,
            table.c.name,
            table.c.generation,
            table.c.sequence,
            table.c.value,
            table.c.updated,
        ).where(upsert.among(connection, table.c.instance, instances))
    ):
        instance, name, generation, sequence, value, updated = row
        known.facts.setdefault(instance, {})[name] = state.Fact(
            (generation, sequence), value, updated
        )


def _load_commands(
    connection: sa.Connection, batch: Iterable[reports.Report], known: state.Known
) -> None:
    wanted = [
        (report.instance, report.data.command_id)
        for report in batch
        if isinstance(report.data, reports.Outcome)
    ]
    if not wanted:
        return
    table = tables.commands
    for row in connection.execute(
        sa.select(
            table.c.instance,
            table.c.caller,
            table.c.command_id,
            table.c.digest,
            table.c.outcome,
            table.c.generation,
            table.c.sequence,
        ).where(
            upsert.among(connection, table.c.instance, {pair[0] for pair in wanted}),
            upsert.among(connection, table.c.command_id, {pair[1] for pair in wanted}),
        )
    ):
        *key, outcome, generation, sequence = row
        instance, caller, command_id, digest = key
        known.commands[instance, caller, command_id, digest] = (
            outcome != reports.INTERRUPTED,
            (generation, sequence),
        )


def _write(connection: sa.Connection, changes: state.Changes, now: float) -> None:
    _write_instances(connection, changes)
    _write_generations(connection, changes, now)
    _write_extensions(connection, changes)
    _write_facts(connection, changes)
    points.write(connection, changes.points, now)
    _write_outcomes(connection, changes, now)
    _write_events(connection, changes, now)


def _write_instances(connection: sa.Connection, changes: state.Changes) -> None:
    """Write rows, which are all there; of most of them only the heartbeat changed."""
    beats: list[state.Instance] = []
    others: list[state.Instance] = []
    for instance in changes.instances.values():
        (others if instance.id in changes.beyond else beats).append(instance)
    for changed, records in (
        (state.HEARTBEAT_FIELDS, beats),
        (_INSTANCE_FIELDS[1:], others),
    ):
        upsert.update(
            connection,
            tables.instances,
            ('id',),
            changed,
            every=_INSTANCE_FIELDS,
            records=records,
        )


def _write_generations(
    connection: sa.Connection, changes: state.Changes, now: float
) -> None:
    table = tables.generations
    if changes.generations:
        connection.execute(
            sa.insert(table),
            [
                {
                    'instance': instance,
                    'generation': generation,
                    'boot_id': boot_id,
                    'number': number,
                    'met': now,
                }
                for (
                    (instance, generation, boot_id),
                    number,
                ) in changes.generations.items()
            ],
        )
    for (instance, generation, boot_id), number in changes.renumbered.items():
        connection.execute(
            sa.update(table)
            .where(
                table.c.instance == instance,
                table.c.generation == generation,
                table.c.boot_id == boot_id,
            )
            .values(number=number, met=now)
        )


def _write_extensions(connection: sa.Connection, changes: state.Changes) -> None:
    table = tables.extensions
    if not changes.extensions:
        return
    connection.execute(
        sa.delete(table).where(
            upsert.among(connection, table.c.instance, changes.extensions)
        )
    )
    rows = [
        {'instance': instance, 'name': name, **extension._asdict()}
        for instance, extensions in changes.extensions.items()
        for name, extension in extensions.items()
    ]
    if rows:
        connection.execute(sa.insert(table), rows)


def _write_facts(connection: sa.Connection, changes: state.Changes) -> None:
    table = tables.facts
    gone = [
        {'of': instance, 'called': name}
        for (instance, name), fact in changes.facts.items()
        if fact is None
    ]
    if gone:
        connection.execute(
            sa.delete(table).where(
                table.c.instance == sa.bindparam('of'),
                table.c.name == sa.bindparam('called'),
            ),
            gone,
        )
    upsert.upsert(
        connection,
        table,
        ('instance', 'name'),
        [
            {
                'instance': instance,
                'name': name,
                'generation': fact.order[0],
                'sequence': fact.order[1],
                'value': fact.value,
                'updated': fact.updated,
            }
            for (instance, name), fact in changes.facts.items()
            if fact is not None
        ],
    )


def _write_outcomes(
    connection: sa.Connection, changes: state.Changes, now: float
) -> None:
    upsert.upsert(
        connection,
        tables.commands,
        ('instance', 'caller', 'command_id', 'digest'),
        [
            {
                'instance': key[0],
                'generation': order[0],
                'sequence': order[1],
                'received': now,
                **outcome._asdict(),
            }
            for key, (order, outcome) in changes.commands.items()
        ],
    )


def _write_events(
    connection: sa.Connection, changes: state.Changes, now: float
) -> None:
    upsert.insert_missing(
        connection,
        tables.events,
        ('instance', 'report'),
        [
            {
                'instance': instance,
                'report': report,
                'generation': order[0],
                'sequence': order[1],
                'received': now,
                **event._asdict(),
            }
            for (instance, report), (order, event) in changes.events.items()
        ],
    )
    if changes.heads:
        connection.execute(
            sa.insert(tables.audit_heads),
            [
                {'instance': instance, 'received': now, **audit._asdict()}
                for instance, audit in changes.heads
            ],
        )
    if changes.notices:
        connection.execute(
            sa.insert(tables.events),
            [
                {
                    'instance': instance,
                    'type': kind,
                    'at': now,
                    'received': now,
                    'data': json.dumps(data),
                }
                for instance, kind, data in changes.notices
            ],
        )


def _instance_row(instance: state.Instance) -> dict[str, Any]:
    return dict(zip(_INSTANCE_FIELDS, _instance_values(instance), strict=True))
