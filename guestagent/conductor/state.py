# SPDX-License-Identifier: Apache-2.0
"""What is known of instances, and what changes: data for ``rules``; no I/O."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeAlias

from guestagent.conductor import report as reports

NEW, UP, DOWN, STOPPED = 'NEW', 'UP', 'DOWN', 'STOPPED'
STATES = (NEW, UP, DOWN, STOPPED)

#: How many intervals may pass without a heartbeat.
INTERVALS = 3

#: The digest of extensions of which it is known only that they are others by now.
UNKNOWN = ''

#: (number of the generation, sequence): what decides which report is newer.
Order: TypeAlias = tuple[int, int]
#: (instance, generation, boot id): one agent process, whatever its name.
GenerationKey: TypeAlias = tuple[str, str, str]
#: (whether it is known how the command ended, order): the greater outcome is kept.
Rank: TypeAlias = tuple[bool, Order]
#: (instance, caller, command id, digest).
CommandKey: TypeAlias = tuple[str, str, str, str]


@dataclasses.dataclass(slots=True)
class Instance:
    """A row of ``tables.instances``, with the same names."""

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
    heartbeat_candidate: int | None = None
    facts_candidate: int | None = None
    facts_newest: int = 0
    facts_ranges: str | None = None
    facts_gap: float | None = None
    rival_generation: int | None = None
    rival_sequence: int | None = None
    rival_boot_id: str | None = None
    rival_since: float | None = None
    rival_seen: float | None = None
    conflict: float | None = None
    conflict_told: float | None = None
    audit_length: int | None = None
    audit_head: str | None = None
    audit_kept: float | None = None


#: What an ordinary heartbeat changes.
HEARTBEAT_FIELDS = (
    'state',
    'last_seen',
    'heartbeat_generation',
    'heartbeat_sequence',
    'boot_id',
    'agent_version',
    'started',
    'heartbeat_interval',
    'dropped',
    'extensions_digest',
    'down_at',
)


class Fact(NamedTuple):
    """A fact, as JSON text; without a value it was removed."""

    order: Order
    value: str | None
    updated: float


@dataclasses.dataclass(slots=True)
class Known:
    """What the database knows of the instances in a batch.

    :ivar generations: their numbers.
    :ivar facts: of the instances that report facts, by instance and name.
    :ivar commands: the rank of the outcomes on record, by key.
    """

    instances: dict[str, Instance]
    generations: dict[GenerationKey, int] = dataclasses.field(default_factory=dict)
    facts: dict[str, dict[str, Fact]] = dataclasses.field(default_factory=dict)
    commands: dict[CommandKey, Rank] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Changes:
    """What has to be written.

    :ivar instances: those whose row changed.
    :ivar beyond: those of them of which more changed than :data:`HEARTBEAT_FIELDS`.
    :ivar generations: numbers of those that were met first.
    :ivar renumbered: new numbers of those that were met before.
    :ivar extensions: by instance; all of its extensions, in place of those before.
    :ivar facts: by (instance, name); ``None``: forget it.
    :ivar points: of series: (instance, name of the series) and the number.
    :ivar events: by (instance, id of the report); what is on record already stays.
    :ivar heads: of audit logs, to be kept: (instance, where it ends).
    :ivar notices: the conductor's own events: (instance, type, data).
    """

    instances: dict[str, Instance] = dataclasses.field(default_factory=dict)
    beyond: set[str] = dataclasses.field(default_factory=set)
    generations: dict[GenerationKey, int] = dataclasses.field(default_factory=dict)
    renumbered: dict[GenerationKey, int] = dataclasses.field(default_factory=dict)
    extensions: dict[str, dict[str, reports.Extension]] = dataclasses.field(
        default_factory=dict
    )
    facts: dict[tuple[str, str], Fact | None] = dataclasses.field(default_factory=dict)
    points: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    commands: dict[CommandKey, tuple[Order, reports.Outcome]] = dataclasses.field(
        default_factory=dict
    )
    events: dict[tuple[str, str], tuple[Order, reports.Event]] = dataclasses.field(
        default_factory=dict
    )
    heads: list[tuple[str, reports.Audit]] = dataclasses.field(default_factory=list)
    notices: list[tuple[str, str, dict[str, Any]]] = dataclasses.field(
        default_factory=list
    )

    def of(self, instance: Instance) -> None:
        """Note that any field of ``instance`` changed."""
        self.instances[instance.id] = instance
        self.beyond.add(instance.id)


def transition(before: str, now: str) -> tuple[str, dict[str, Any]]:
    """Return the type and the data of the event for a change of state."""
    return f'instance.{now.lower()}', {'from': before}
