# SPDX-License-Identifier: Apache-2.0
"""Two agents with one name: an older generation that goes on; no I/O and no clock.

An agent that starts anew has a new generation, and the one before is over: what still
comes of it was on its way.  When it goes on for a while there are two agents (a copy
of a machine, a name given twice), or the two were numbered in the wrong order, because
conductors that share a queue met them so.  In either case only the newer counts as
long as it is heard.  When it is not, the older takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestagent.conductor import report as reports
from guestagent.conductor import state

if TYPE_CHECKING:
    from guestagent.conductor import rules

DUPLICATE = 'instance.duplicate'

#: How often an event says of an instance that it has a double, in seconds.
TELL_INTERVAL = 3600.0

#: By how many seconds the clock of a guest that seals may be behind.
SKEW = 300.0


def is_replay(report: reports.Report, instance: state.Instance) -> bool:
    """Whether a sealed heartbeat of an older generation was made long ago.

    Somebody who has recorded the heartbeats of a guest could else let it seem alive.
    """
    sealed_at = report.sealed_at
    return sealed_at is not None and sealed_at < instance.last_seen - SKEW


def take(
    report: reports.Report,
    data: reports.Heartbeat,
    number: int,
    instance: state.Instance,
    known: state.Known,
    changes: state.Changes,
    now: float,
    settings: rules.Settings,
) -> int:
    """Look at a heartbeat of an older generation; return the number it has now."""
    if data.stopping:
        if instance.rival_generation == number:
            _clear(instance, changes)
        return number
    if not _goes_on(report, data, number, instance, changes, now, settings):
        return number
    if _is_silent(instance, now):
        _clear(instance, changes)
        return _promote(report, instance, known, changes)
    if instance.conflict is None:
        instance.conflict = now
    if instance.conflict_told is None or now - instance.conflict_told > TELL_INTERVAL:
        instance.conflict_told = now
        changes.notices.append((instance.id, DUPLICATE, describe(instance)))
    return number


def forget_old(
    instance: state.Instance,
    changes: state.Changes,
    now: float,
    settings: rules.Settings,
) -> None:
    """End a conflict whose older agent is not heard any more."""
    wait = max(
        settings.conflict_after, state.INTERVALS * (instance.heartbeat_interval or 0)
    )
    if instance.rival_seen is None or now - instance.rival_seen > wait:
        _clear(instance, changes)


def describe(instance: state.Instance) -> dict[str, list[int | str | None]]:
    """Return the numbers and boot ids of both, the newer first."""
    return {
        'generations': [instance.heartbeat_generation, instance.rival_generation],
        'boot_ids': [instance.boot_id, instance.rival_boot_id],
    }


def _goes_on(
    report: reports.Report,
    data: reports.Heartbeat,
    number: int,
    instance: state.Instance,
    changes: state.Changes,
    now: float,
    settings: rules.Settings,
) -> bool:
    """Note the heartbeat; return whether its generation has gone on long enough.

    What was on its way comes at once: so there must be time between the first and
    this one.
    """
    since, seen = instance.rival_since, instance.rival_seen
    wait = max(settings.conflict_after, data.interval / 2)
    if (
        instance.rival_generation != number
        or since is None
        or seen is None
        or now - seen > wait + state.INTERVALS * data.interval
    ):
        instance.rival_generation = number
        instance.rival_boot_id = report.boot_id
        instance.rival_sequence = report.sequence
        instance.rival_since = instance.rival_seen = now
        changes.of(instance)
        return False
    if report.sequence <= (instance.rival_sequence or 0):
        return False
    instance.rival_sequence = report.sequence
    instance.rival_seen = now
    changes.of(instance)
    return now - since >= wait


def _is_silent(instance: state.Instance, now: float) -> bool:
    """Whether the newer generation is not there any more."""
    interval = instance.heartbeat_interval or 0
    return (
        instance.state != state.UP
        or now - instance.last_seen > state.INTERVALS * interval
    )


def _promote(
    report: reports.Report,
    instance: state.Instance,
    known: state.Known,
    changes: state.Changes,
) -> int:
    """Make the report's generation the newest."""
    key = (report.instance, report.generation, report.boot_id)
    instance.generations += 1
    known.generations[key] = changes.renumbered[key] = instance.generations
    return instance.generations


def _clear(instance: state.Instance, changes: state.Changes) -> None:
    instance.rival_generation = instance.rival_sequence = None
    instance.rival_boot_id = instance.rival_since = instance.rival_seen = None
    # When it was told last stays: a conflict that comes and goes is told no more often.
    instance.conflict = None
    changes.of(instance)
