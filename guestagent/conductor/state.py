# SPDX-License-Identifier: Apache-2.0
"""What reports change: the rules of doc/wire.rst, 7; no I/O and no clock.

:func:`decide` takes a batch of reports and what the database knows about their
instances, brings that up to date, and returns what has to be written.  Whoever calls
it holds these instances' rows, so that no other conductor decides at the same time.

The result does not depend on the order in which reports come, nor on repeats, but for
two things: the generations of an instance are numbered as they are first met, and of
several heartbeats only the newest is looked at.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from guestagent.conductor import report as reports

NEW, UP, DOWN, STOPPED = 'NEW', 'UP', 'DOWN', 'STOPPED'
STATES = (NEW, UP, DOWN, STOPPED)

#: How many intervals may pass without a heartbeat.
INTERVALS = 3

#: (number of the generation, sequence): what decides which report is newer.
Order: TypeAlias = tuple[int, int]
#: (instance, caller, command id, digest).
CommandKey: TypeAlias = tuple[str, str, str, str]


@dataclasses.dataclass(slots=True)
class Instance:
    """A row of ``tables.instances``: the same names in the same order."""

    id: str
    state: str
    first_seen: float
    last_seen: float
    generations: int = 0
    heartbeat_generation: int = 0
    heartbeat_sequence: int = 0
    boot_id: str | None = None
    agent_version: str | None = None
    started: float | None = None
    heartbeat_interval: float | None = None
    dropped: int | None = None
    extensions_digest: str | None = None
    down_at: float | None = None
    facts_generation: int = 0
    facts_sequence: int = 0
    sweep: str | None = None


class Fact(NamedTuple):
    """A fact, as JSON text; without a value it was removed."""

    order: Order
    value: str | None
    updated: float


@dataclasses.dataclass(slots=True)
class Known:
    """What the database knows of the instances in a batch.

    :ivar generations: numbers, by (instance, generation).
    :ivar facts: of the instances that report facts, by instance and name.
    :ivar commands: the order of the outcomes on record, by key.
    """

    instances: dict[str, Instance]
    generations: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    facts: dict[str, dict[str, Fact]] = dataclasses.field(default_factory=dict)
    commands: dict[CommandKey, Order] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Changes:
    """What has to be written.

    :ivar instances: those whose row changed.
    :ivar generations: numbers of those that were met first, as in :class:`Known`.
    :ivar extensions: by instance; all of its extensions, in place of those before.
    :ivar facts: by (instance, name); ``None``: forget it.
    :ivar events: by (instance, order); what is on record already stays.
    :ivar transitions: (instance, state before, state now).
    """

    instances: dict[str, Instance] = dataclasses.field(default_factory=dict)
    generations: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    extensions: dict[str, dict[str, reports.Extension]] = dataclasses.field(
        default_factory=dict
    )
    facts: dict[tuple[str, str], Fact | None] = dataclasses.field(default_factory=dict)
    commands: dict[CommandKey, tuple[Order, reports.Outcome]] = dataclasses.field(
        default_factory=dict
    )
    events: dict[tuple[str, Order], reports.Event] = dataclasses.field(
        default_factory=dict
    )
    transitions: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)


def decide(
    batch: Iterable[reports.Report], known: Known, now: float, down_after: float = 0.0
) -> Changes:
    """Return what ``batch`` changes, and bring ``known`` up to date.

    :param known: has each instance of the batch.
    :param now: the conductor's time, in UNIX seconds.
    :param down_after: seconds without a heartbeat until an instance is DOWN; 0: three
        of the intervals that it names.
    """
    changes = Changes()
    newest: dict[str, tuple[Order, reports.Report, reports.Heartbeat]] = {}
    for report in batch:
        instance = known.instances[report.instance]
        order = (_number(report, instance, known, changes), report.sequence)
        data = report.data
        if isinstance(data, reports.Heartbeat):
            before = newest.get(report.instance)
            if before is None or before[0] < order:
                newest[report.instance] = (order, report, data)
        elif isinstance(data, reports.Facts):
            _take_facts(data, order, instance, known, changes, now)
        elif isinstance(data, reports.Outcome):
            _take_outcome(data, order, report.instance, known, changes)
        else:
            changes.events.setdefault((report.instance, order), data)
    for order, report, data in newest.values():
        instance = known.instances[report.instance]
        if (instance.heartbeat_generation, instance.heartbeat_sequence) < order:
            _take_heartbeat(data, order, report.boot_id, instance, changes, now)
            instance.down_at = now + (down_after or INTERVALS * data.interval)
    return changes


def _number(
    report: reports.Report, instance: Instance, known: Known, changes: Changes
) -> int:
    """Return the number of the report's generation, the next one if it is new."""
    key = (report.instance, report.generation)
    number = known.generations.get(key)
    if number is None:
        number = instance.generations = instance.generations + 1
        known.generations[key] = changes.generations[key] = number
        changes.instances[instance.id] = instance
    return number


def _take_heartbeat(
    data: reports.Heartbeat,
    order: Order,
    boot_id: str,
    instance: Instance,
    changes: Changes,
    now: float,
) -> None:
    state = STOPPED if data.stopping else UP
    if instance.state != state:
        changes.transitions.append((instance.id, instance.state, state))
    instance.state = state
    instance.last_seen = now
    instance.heartbeat_generation, instance.heartbeat_sequence = order
    instance.boot_id = boot_id
    instance.agent_version = data.agent_version
    instance.started = data.started
    instance.heartbeat_interval = data.interval
    instance.dropped = data.dropped
    digest = extensions_digest(data.extensions)
    if instance.extensions_digest != digest:
        instance.extensions_digest = digest
        changes.extensions[instance.id] = data.extensions
    changes.instances[instance.id] = instance


def extensions_digest(extensions: dict[str, reports.Extension]) -> str:
    """Return a text that differs where the extensions differ."""
    text = repr([(name, *extensions[name]) for name in sorted(extensions)])
    return hashlib.sha256(text.encode()).hexdigest()


def _take_facts(
    data: reports.Facts,
    order: Order,
    instance: Instance,
    known: Known,
    changes: Changes,
    now: float,
) -> None:
    """Let the newest report that speaks of a fact decide, fact by fact.

    A full report speaks of all facts.  What it does not name can be forgotten, because
    whatever is older than the newest full report is not looked at any more.
    """
    if order <= (instance.facts_generation, instance.facts_sequence):
        return
    facts = known.facts.setdefault(instance.id, {})
    if data.full:
        instance.facts_generation, instance.facts_sequence = order
        changes.instances[instance.id] = instance
        for name in [
            name
            for name, fact in facts.items()
            if fact.order < order and data.facts.get(name) is None
        ]:
            del facts[name]
            changes.facts[instance.id, name] = None
    for name, value in data.facts.items():
        before = facts.get(name)
        if before is not None and before.order >= order:
            continue
        if value is None and data.full:
            continue
        updated = now
        if before is not None and before.value == value:
            updated = before.updated
        facts[name] = changes.facts[instance.id, name] = Fact(order, value, updated)


def _take_outcome(
    data: reports.Outcome, order: Order, instance: str, known: Known, changes: Changes
) -> None:
    """Keep one outcome of each command: the newest, should a guest report two."""
    key = (instance, data.caller, data.command_id, data.digest)
    before = known.commands.get(key)
    if before is None or before < order:
        known.commands[key] = order
        changes.commands[key] = (order, data)


def transition(before: str, now: str) -> tuple[str, dict[str, Any]]:
    """Return the type and the data of the event for a change of state."""
    return f'instance.{now.lower()}', {'from': before}
