# SPDX-License-Identifier: Apache-2.0
"""Keeps a quiet guest quiet: amounts that moved only a little count as unchanged.

A value that is reported stays as it is until one of its amounts has moved, since
then, by more than a share of the total; then all of it is reported as it is.  (Rounded
values would flutter wherever one lies at the edge between two.)  No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

#: How far memory and swap may move before they are reported: a share of the total.
MEMORY_SHARE = 0.05
#: The same for a filesystem.
FILESYSTEM_SHARE = 0.01
#: The same for the time of the start, in seconds: it is computed from a clock that is
#: being corrected.
BOOT_TIME_SECONDS = 10

#: How far a load, a share or a rate may move: so much, or this share of what it was.
RATE_SHARE = 0.5
LOAD = {'load1m': 0.5, 'load5m': 0.5, 'load15m': 0.5}
CPU_PERCENT = 10.0
MEMORY_RATES = {'swap_in': 50, 'swap_out': 50, 'faults': 2000, 'major_faults': 20}
TRAFFIC = {
    'rx_bytes': 16384,
    'tx_bytes': 16384,
    'rx_packets': 100,
    'tx_packets': 100,
    'rx_errs': 1,
    'tx_errs': 1,
    'rx_dropped': 10,
    'tx_dropped': 10,
}

Settle = Callable[[Any, Any], Any]


def plain(last: Any, now: Any) -> Any:
    """Return ``now``: any change counts."""
    return now


def boot_time(last: int | None, now: int) -> int:
    """Return ``last`` where the two differ only by the correction of a clock."""
    if last is not None and abs(now - last) <= BOOT_TIME_SECONDS:
        return last
    return now


def memory(last: Mapping[str, int] | None, now: Mapping[str, int]) -> Mapping[str, int]:
    """Return ``last`` unless memory or swap have moved."""
    if last is not None and _alike(last, now, ('available', 'free'), MEMORY_SHARE):
        return last
    return now


def filesystems(
    last: Sequence[Mapping[str, Any]] | None, now: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return ``now``, with ``last``'s words for each filesystem that has not moved."""
    known = {item['mount_point']: item for item in last or ()}
    settled = []
    for item in now:
        before = known.get(item['mount_point'])
        settled.append(
            before
            if before is not None
            and _alike(before, item, ('used', 'free'), FILESYSTEM_SHARE)
            else item
        )
    return settled


def load(
    last: Mapping[str, float] | None, now: Mapping[str, float]
) -> Mapping[str, float]:
    """Return ``last`` unless an average has moved."""
    return last if last is not None and _near(last, now, LOAD) else now


def cpu_usage(
    last: Mapping[str, float] | None, now: Mapping[str, float]
) -> Mapping[str, float]:
    """Return ``last`` unless a share has moved."""
    floors = dict.fromkeys(now, CPU_PERCENT)
    return last if last is not None and _near(last, now, floors, 0) else now


def memory_rates(
    last: Mapping[str, float] | None, now: Mapping[str, float]
) -> Mapping[str, float]:
    """Return ``last`` unless a rate has moved."""
    return last if last is not None and _near(last, now, MEMORY_RATES) else now


def traffic(
    last: Mapping[str, Mapping[str, float]] | None,
    now: Mapping[str, Mapping[str, float]],
) -> dict[str, Mapping[str, float]]:
    """Return ``now``, with ``last``'s rates for each interface that has not moved."""
    known = last or {}
    return {
        name: known[name]
        if name in known and _near(known[name], rates, TRAFFIC)
        else rates
        for name, rates in now.items()
    }


def _near(
    last: Mapping[str, float],
    now: Mapping[str, float],
    floors: Mapping[str, float],
    share: float = RATE_SHARE,
) -> bool:
    """Whether no number has moved by more than its floor, and by more than a share."""
    return last.keys() == now.keys() and all(
        abs(number - last[name]) <= max(floors[name], share * abs(last[name]))
        for name, number in now.items()
    )


def _alike(
    last: Mapping[str, Any],
    now: Mapping[str, Any],
    amounts: Collection[str],
    share: float,
) -> bool:
    """Whether all is the same, and each amount within a share of the total."""
    if last.keys() != now.keys():
        return False
    for name, value in now.items():
        before = last[name]
        if value == before:
            continue
        if name not in amounts or value is None or before is None:
            return False
        if abs(value - before) > share * now['total']:
            return False
    return True


#: How each fact settles; those that are not named are plain.
RULES: dict[str, Settle] = {
    'boot_time': boot_time,
    'memory': memory,
    'swap': memory,
    'filesystems': filesystems,
    'load': load,
    'cpu_usage': cpu_usage,
    'memory_rates': memory_rates,
    'traffic': traffic,
}
