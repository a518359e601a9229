# SPDX-License-Identifier: Apache-2.0
"""What Linux knows about another process: memory, processor time, switches."""

import collections
import dataclasses
import pathlib
import time
from collections.abc import Collection


@dataclasses.dataclass(frozen=True)
class Memory:
    """Resident memory in MiB: all, anonymous, and held by no other process.

    :ivar proportional: each page divided by how many processes of the machine have it.
    """

    rss: float
    anonymous: float
    unique: float
    proportional: float


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
        proportional=fields['Pss'] / 1024,
    )


def together(pids: Collection[int]) -> float:
    """Return what processes take together, in MiB: a page that they share is one.

    As their proportional memory would be if no other process of the machine had the
    same files: of each file counts what that process has which has the most of it.

    :raises OSError: one of them is not there.
    """
    own = 0.0
    files: dict[str, int] = {}
    for pid in pids:
        fields = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text().split()
        own += int(fields[fields.index('Pss_Anon:') + 1])
        for file, size in _files(pid).items():
            files[file] = max(size, files.get(file, 0))
    return (own + sum(files.values())) / 1024


def _files(pid: int) -> dict[str, int]:
    """Return how much of each file is in a process's memory unchanged, in KiB."""
    sizes: dict[str, int] = collections.defaultdict(int)
    file = ''
    for line in pathlib.Path(f'/proc/{pid}/smaps').read_text().splitlines():
        name, value, *rest = line.split()
        if not name.endswith(':'):
            # address, rights, offset, device, inode, path
            file = ' '.join(rest[1:3])
        elif name == 'Rss:':
            sizes[file] += int(value)
        elif name == 'Anonymous:':
            sizes[file] -= int(value)
    return sizes


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
