# SPDX-License-Identifier: Apache-2.0
"""What reports change: the rules of doc/wire.rst, 7; no I/O and no clock.

:func:`decide` takes a batch of reports and what the database knows about their
instances, brings that up to date, and returns what has to be written.  Whoever calls
it holds these instances' rows, so that no other conductor decides at the same time.

The result does not depend on the order in which reports come, nor on repeats, but for
two things: the generations of an instance are numbered as they are first met, and of
several heartbeats only the newest is looked at, and what it refers to if that came
before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from guestagent import numbers
from guestagent.conductor import facts, heartbeats, order, rivals, state
from guestagent.conductor import report as reports


class Settings(NamedTuple):
    """What an operator may decide.

    :ivar down_after: seconds without a heartbeat until an instance is DOWN; 0: three
        of the intervals that it names.
    :ivar conflict_after: for how many seconds at least an older generation must go on
        beside a newer one to count as alive.
    :ivar series_step: seconds between two points of a series; 0: there are none.
    :ivar series: patterns of the facts that have series.
    """

    down_after: float = 0.0
    conflict_after: float = 10.0
    series_step: float = 60.0
    series: Sequence[str] = numbers.FACTS


DEFAULTS = Settings()


def decide(
    batch: Iterable[reports.Report],
    known: state.Known,
    now: float,
    settings: Settings = DEFAULTS,
) -> state.Changes:
    """Return what ``batch`` changes, and bring ``known`` up to date.

    :param known: has each instance of the batch.
    :param now: the conductor's time, in UNIX seconds.
    """
    changes = state.Changes()
    beats: dict[str, tuple[reports.Report, reports.Heartbeat]] = {}
    for report in batch:
        instance = known.instances[report.instance]
        number = _number(report, instance, known, changes)
        data = report.data
        if isinstance(data, reports.Heartbeat):
            if number < instance.heartbeat_generation:
                if rivals.is_replay(report, instance):
                    continue
                number = rivals.take(
                    report, data, number, instance, known, changes, now, settings
                )
            if _counts(number, report.sequence, instance, changes):
                _, before = beats.get(report.instance, (None, None))
                beats[report.instance] = (report, heartbeats.join(before, data))
        elif isinstance(data, reports.Facts):
            place = (number, report.sequence)
            facts.take(data, place, instance, known, changes, now, settings)
        elif isinstance(data, reports.Outcome):
            _take_outcome(data, (number, report.sequence), report, known, changes)
        else:
            changes.events.setdefault(
                (report.instance, report.id or f'{number}-{report.sequence}'),
                ((number, report.sequence), data),
            )
    for report, data in beats.values():
        instance = known.instances[report.instance]
        heartbeats.take(data, report.boot_id, instance, changes, now)
        instance.down_at = now + (
            settings.down_after or state.INTERVALS * data.interval
        )
        if instance.conflict is not None:
            rivals.forget_old(instance, changes, now, settings)
    return changes


def _number(
    report: reports.Report,
    instance: state.Instance,
    known: state.Known,
    changes: state.Changes,
) -> int:
    """Return the number of the report's generation, the next one if it is new."""
    key = (report.instance, report.generation, report.boot_id)
    number = known.generations.get(key)
    if number is None:
        number = instance.generations = instance.generations + 1
        known.generations[key] = changes.generations[key] = number
        changes.of(instance)
    return number


def _counts(
    number: int, sequence: int, instance: state.Instance, changes: state.Changes
) -> bool:
    """Whether a heartbeat is the newest; if so the instance's order is its own."""
    if number < instance.heartbeat_generation:
        return False
    if number > instance.heartbeat_generation:
        instance.heartbeat_generation, instance.heartbeat_sequence = number, 0
    newest = instance.heartbeat_sequence
    believed, candidate = order.judge(newest, instance.heartbeat_candidate, sequence)
    if candidate != instance.heartbeat_candidate:
        instance.heartbeat_candidate = candidate
        changes.of(instance)
    if not believed or newest - order.FAR <= sequence <= newest:
        return False
    instance.heartbeat_sequence = sequence
    return True


def _take_outcome(
    data: reports.Outcome,
    place: state.Order,
    report: reports.Report,
    known: state.Known,
    changes: state.Changes,
) -> None:
    """Keep one outcome of each command: the newest, should a guest report two.

    A copy of a guest, and one that was put back to a snapshot, report as interrupted
    what they do not know the end of.  Whoever knows it is believed.
    """
    key = (report.instance, data.caller, data.command_id, data.digest)
    rank = (data.outcome != reports.INTERRUPTED, place)
    before = known.commands.get(key)
    if before is None or before < rank:
        known.commands[key] = rank
        changes.commands[key] = (place, data)
