# SPDX-License-Identifier: Apache-2.0
"""What Linux knows about another process: memory, processor time, switches."""

import dataclasses
import pathlib
import time


@dataclasses.dataclass(frozen=True)
class Memory:
    """Resident memory in MiB: all, anonymous, and held by no other process."""

    rss: float
    anonymous: float
    unique: float


def memory(pid: int) -> Memory:
    """Return the resident memory of ``pid``.

    ``smaps_rollup`` walks the page table; ``VmRSS`` in ``status`` may be off by what
    each processor has not yet added up.

    :raises OSError: there is no such process.
    """
    fields: dict[str, int] = {}
    text = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text()
    for line in text.splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name.rstrip(':')] = int(value)
    return Memory(
        rss=fields['Rss'] / 1024,
        anonymous=fields['Anonymous'] / 1024,
        unique=(fields['Private_Clean'] + fields['Private_Dirty']) / 1024,
    )


def cpu_ns(pid: int) -> int:
    """Return the processor time of ``pid``, ended threads included, in ns.

    :raises OSError: there is no such process.
    """
    # What clock_getcpuclockid(3) returns on Linux; Python offers it for threads only.
    return time.clock_gettime_ns((~pid << 3) | 2)


def children(pid: int) -> set[int]:
    """Return the processes that ``pid`` has started, and these in turn.

    :raises OSError: there is no such process.
    """
    found = set()
    for thread in pathlib.Path(f'/proc/{pid}/task').iterdir():
        for child in (thread / 'children').read_text().split():
            found |= {int(child), *children(int(child))}
    return found


def threads(pid: int) -> int:
    """Return how many threads ``pid`` has."""
    return sum(1 for _ in pathlib.Path(f'/proc/{pid}/task').iterdir())


def switches(pid: int) -> dict[int, int]:
    """Return the voluntary context switches of each thread of ``pid``, by its id."""
    counts: dict[int, int] = {}
    for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
        try:
            text = (task / 'status').read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has just ended
        counts[int(task.name)] = int(
            text.split('\nvoluntary_ctxt_switches:')[1].split(None, 1)[0]
        )
    return counts


def switches_between(before: dict[int, int], after: dict[int, int]) -> int:
    """Return how often the threads went to sleep between two :func:`switches`."""
    return sum(count - before.get(task, 0) for task, count in after.items())
