# SPDX-License-Identifier: Apache-2.0
"""How fast the kernel's counters move: of memory, network interfaces, processors."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Collection, Mapping

from guestagent_monitoring import files

#: Seconds that two looks lie apart at least: over less, a rate says nothing.
LEAST = 1.0

#: The kernel counts swapping in pages.
_VMSTAT = {
    'pswpin': 'swap_in',
    'pswpout': 'swap_out',
    'pgfault': 'faults',
    'pgmajfault': 'major_faults',
}
#: The columns of /proc/net/dev.
_COLUMNS = {
    'rx_bytes': 0,
    'rx_packets': 1,
    'rx_errs': 2,
    'rx_dropped': 3,
    'tx_bytes': 8,
    'tx_packets': 9,
    'tx_errs': 10,
    'tx_dropped': 11,
}
_CPU = ('user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal')

Counts = Mapping[str, Mapping[str, int]]


class Rates:
    """Remembers the counters of the last look, and what they came to.

    Whoever looks sooner than a second after another gets what that one got.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: float | None = None
        self._counts: Counts = {}
        self._rates: dict[str, dict[str, float]] | None = None

    def follow(self, now: float, counts: Counts) -> dict[str, dict[str, float]] | None:
        """Return the moves per second since the last look; ``None`` at the first.

        :param now: seconds of a clock that is not set.
        :param counts: by the name of an object, as they are now.  One that is new, or
            that counts anew, has no rates.
        """
        with self._lock:
            if self._at is not None and now - self._at < LEAST:
                return self._rates
            if self._at is not None:
                seconds = now - self._at
                self._rates = {
                    name: {
                        key: round((count - self._counts[name][key]) / seconds, 1)
                        for key, count in mine.items()
                    }
                    for name, mine in counts.items()
                    if _went_on(self._counts.get(name), mine)
                }
            self._at, self._counts = now, counts
            return self._rates


class MemoryRates(Rates):
    """``{swap_in, swap_out, faults, major_faults}`` per second, of all the guest.

    The first two are in pages.
    """

    def __call__(self, root: str = '/') -> dict[str, float] | None:
        """Return the rates since the last look; ``None`` at the first."""
        told = self.follow(time.monotonic(), {'': memory_counters(root)})
        return told.get('') if told else None


class Traffic(Rates):
    """``{interface: {rx_bytes, rx_packets, ..., tx_dropped}}`` per second."""

    def __call__(
        self, root: str = '/', ignored: Collection[str] = ()
    ) -> dict[str, dict[str, float]] | None:
        """Return the rates since the last look; ``None`` at the first."""
        counts = {}
        for line in files.read(root, 'proc/net/dev').splitlines()[2:]:
            name, _, rest = line.partition(':')
            figures = rest.split()
            name = name.strip()
            if not any(fnmatch.fnmatchcase(name, glob) for glob in ignored):
                counts[name] = {
                    key: int(figures[column]) for key, column in _COLUMNS.items()
                }
        return self.follow(time.monotonic(), counts)


class CpuUsage(Rates):
    """What share of the time of all processors was spent on what, in percent."""

    def __call__(self, root: str = '/') -> dict[str, float] | None:
        """Return ``{user, system, iowait, steal, idle}``; ``None`` at the first look.

        ``user`` is with nice, ``system`` with interrupts.
        """
        words = files.read(root, 'proc/stat').split('\n', 1)[0].split()[1:]
        # Those of waiting and of idling go back a little now and then.
        before = self._counts.get('', {})
        figures = {
            key: max(int(word), before.get(key, 0))
            for key, word in zip(_CPU, words, strict=False)
        }
        told = self.follow(time.monotonic(), {'': figures})
        return None if not told or '' not in told else _shares(told[''])


def memory_counters(root: str = '/') -> dict[str, int]:
    """Return ``{swap_in, swap_out, faults, major_faults}`` since the start."""
    counts = {}
    for line in files.read(root, 'proc/vmstat').splitlines():
        name, _, value = line.partition(' ')
        if name in _VMSTAT:
            counts[_VMSTAT[name]] = int(value)
    return counts


def _went_on(before: Mapping[str, int] | None, now: Mapping[str, int]) -> bool:
    return before is not None and all(
        key in before and count >= before[key] for key, count in now.items()
    )


def _shares(spent: Mapping[str, float]) -> dict[str, float] | None:
    total = sum(spent.values())
    if total <= 0:
        return None

    def share(*kinds: str) -> float:
        return round(100 * sum(spent.get(kind, 0) for kind in kinds) / total, 1)

    return {
        'user': share('user', 'nice'),
        'system': share('system', 'irq', 'softirq'),
        'iowait': share('iowait'),
        'steal': share('steal'),
        'idle': share('idle'),
    }
