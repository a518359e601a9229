# SPDX-License-Identifier: Apache-2.0
"""What a report of facts changes, and whether facts are missing; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestagent import numbers
from guestagent.conductor import order as orders
from guestagent.conductor import report as reports
from guestagent.conductor import series, state

if TYPE_CHECKING:
    from guestagent.conductor import rules


def take(
    data: reports.Facts,
    order: state.Order,
    instance: state.Instance,
    known: state.Known,
    changes: state.Changes,
    now: float,
    settings: rules.Settings,
) -> None:
    """Let the newest report that speaks of a fact decide, fact by fact.

    A full report speaks of all facts.  What it does not name can be forgotten, because
    whatever is older than the newest full report is not looked at any more.
    """
    if not _counts(data.full, order, instance, known, changes, now):
        return
    if order <= (instance.facts_generation, instance.facts_sequence):
        return
    facts = known.facts.setdefault(instance.id, {})
    if data.full:
        _begin(data, order, instance, facts, changes)
    for name, value in data.facts.items():
        before = facts.get(name)
        if before is not None and before.order >= order:
            continue
        if value is None and data.full:
            continue
        updated = now
        if before is not None and before.value == value:
            updated = before.updated
        elif value is not None:
            _keep(name, value, before, instance, changes, now, settings)
        facts[name] = changes.facts[instance.id, name] = state.Fact(
            order, value, updated
        )
    if order[0] == instance.facts_newest:
        look_for_gap(instance, changes, now)


def _keep(
    name: str,
    value: str,
    before: state.Fact | None,
    instance: state.Instance,
    changes: state.Changes,
    now: float,
    settings: rules.Settings,
) -> None:
    """Add a point to each series of a fact that has become another one."""
    step = settings.series_step
    if not step or not numbers.is_wanted(name, settings.series):
        return
    if series.is_due(None if before is None else before.updated, now, step):
        for called, number in numbers.numbers(name, value).items():
            changes.points[instance.id, called] = number


def miss(instance: state.Instance, changes: state.Changes, now: float) -> None:
    """Note that facts are missing, from ``now`` on if they were not before."""
    if instance.facts_gap is None:
        instance.facts_gap = now
        changes.of(instance)


def look_for_gap(instance: state.Instance, changes: state.Changes, now: float) -> None:
    """Note whether all is there: the facts from the newest full report on, and more.

    What heartbeats left open is asked for together with facts.
    """
    complete = (
        instance.facts_generation == instance.facts_newest
        and instance.facts_sequence > 0
        and orders.Ranges(instance.facts_ranges).unbroken(instance.facts_sequence)
    )
    if not complete:
        miss(instance, changes, now)
    elif instance.facts_gap is not None and instance.extensions_digest != state.UNKNOWN:
        instance.facts_gap = None
        changes.of(instance)


def _counts(
    full: bool,
    order: state.Order,
    instance: state.Instance,
    known: state.Known,
    changes: state.Changes,
    now: float,
) -> bool:
    """Whether a report is to be believed; if so it is noted as taken.

    Nothing is noted for a generation that is over: what it lost is of no use.
    """
    number, sequence = order
    if number < instance.facts_newest:
        return True
    if number > instance.facts_newest:
        instance.facts_newest = number
        instance.facts_ranges = instance.facts_candidate = None
        changes.of(instance)
    ranges = orders.Ranges(instance.facts_ranges)
    newest = ranges.newest
    believed, candidate = orders.judge(newest, instance.facts_candidate, sequence)
    if candidate != instance.facts_candidate:
        instance.facts_candidate = candidate
        changes.of(instance)
    if not believed:
        return False
    if sequence < newest - orders.FAR:
        _count_anew(instance, known, changes)
        ranges = orders.Ranges()
        miss(instance, changes, now)
    if full and order > (instance.facts_generation, instance.facts_sequence):
        ranges.add(sequence)
        ranges.begin(sequence)
    elif order > (instance.facts_generation, instance.facts_sequence):
        ranges.add(sequence)
    if str(ranges) != (instance.facts_ranges or ''):
        instance.facts_ranges = str(ranges)
        changes.of(instance)
    return True


def _count_anew(
    instance: state.Instance, known: state.Known, changes: state.Changes
) -> None:
    """Make all facts older than any sequence: the guest counts from lower down."""
    number = instance.facts_newest
    instance.facts_generation, instance.facts_sequence = number, 0
    facts = known.facts.get(instance.id, {})
    for name, fact in facts.items():
        facts[name] = changes.facts[instance.id, name] = fact._replace(
            order=(number, 0)
        )


def _begin(
    data: reports.Facts,
    order: state.Order,
    instance: state.Instance,
    facts: dict[str, state.Fact],
    changes: state.Changes,
) -> None:
    """Forget what a full report does not name, and what is older than it."""
    instance.facts_generation, instance.facts_sequence = order
    changes.of(instance)
    for name in [
        name
        for name, fact in facts.items()
        if fact.order < order and data.facts.get(name) is None
    ]:
        del facts[name]
        changes.facts[instance.id, name] = None
