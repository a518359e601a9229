# SPDX-License-Identifier: Apache-2.0
"""Interleaving: every round visits all servers, each time in another order; no I/O."""

from collections.abc import Callable, Iterator, Sequence


def interleave(names: Sequence[str], count: int) -> Iterator[str]:
    """Yield all ``names`` ``count`` times, the order turned by one each time.

    So each server follows each other one equally often, and what the machine does
    beside us falls on all of them.
    """
    for turn in range(count):
        first = turn % len(names)
        yield from (*names[first:], *names[:first])


def sample(
    names: Sequence[str], count: int, measure: Callable[[str], float]
) -> dict[str, list[float]]:
    """Return ``count`` figures for each name, taken in interleaved rounds."""
    samples: dict[str, list[float]] = {name: [] for name in names}
    for name in interleave(names, count):
        samples[name].append(measure(name))
    return samples
