# SPDX-License-Identifier: Apache-2.0
"""What the agent notices of itself: threads that hang, and what it takes.

It looks with each heartbeat, so that an idle agent wakes no more often.  A command
hangs that has not returned a while after it was cancelled, or its time was over; a
periodic method that has run for five minutes; a request that has not begun to run a
minute after a worker took it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from guestagent.agent import counts, machine, pool, registry
from guestagent.agent import request as requests

LOG = logging.getLogger(__name__)

#: Seconds that a command has to return when nobody waits for it any more.
GRACE = 25.0
#: Seconds that a periodic method may run, and that a request may take to begin.
PERIODIC_SECONDS, BEGIN_SECONDS = 300.0, 60.0

_PAGE = os.sysconf('SC_PAGE_SIZE')

#: Takes (extension, name of an event, its data), or (extension, facts).
Event = Callable[[str, str, Mapping[str, Any]], None]
Facts = Callable[[str, Mapping[str, Any]], None]


class Hang(NamedTuple):
    """A thread that hangs.

    :ivar what: ``<extension>.<method>``.
    :ivar since: the :func:`time.monotonic` value from which it should have returned.
    :ivar argument: what the worker was given, by which it is known.
    """

    what: str
    since: float
    argument: Any


class Hangs:
    """Finds workers that hang, and reports each once, and its return.

    :param event: takes the events ``agent.hung`` and ``agent.returned``.
    """

    def __init__(
        self, workers: pool.Pool, known: registry.Registry, event: Event
    ) -> None:
        self._workers = workers
        self._known = known
        self._event = event
        self._late: dict[int, Hang] = {}
        self._hung: dict[int, Hang] = {}

    @property
    def all_hang(self) -> bool:
        """Whether no worker is left for the next command."""
        return len(self._hung) >= self._workers.size

    def look(self) -> None:
        """Look at what the workers are at; on the loop."""
        now = time.monotonic()
        late = {}
        for thread, busy in self._workers.busy().items():
            before = self._late.get(thread)
            if before is not None and before.argument is busy.argument:
                late[thread] = before
            elif _is_late(busy, now):
                late[thread] = Hang(_name(busy.argument), now, busy.argument)
        self._late = late
        for thread, hang in list(self._hung.items()):
            if late.get(thread) is not hang:
                self._return(thread, now)
        for thread, hang in late.items():
            if thread not in self._hung and now - hang.since >= GRACE:
                self._report(thread, hang, now)

    def present(self) -> dict[int, Hang]:
        """Return what hangs, by the ids of the threads."""
        return dict(self._hung)

    def _report(self, thread: int, hang: Hang, now: float) -> None:
        from guestagent.agent import diagnosis  # most agents never need it

        self._hung[thread] = hang
        stack = diagnosis.stack(thread)
        LOG.error('%s hangs: %s', hang.what, '; '.join(stack))
        data = {
            'what': hang.what,
            'seconds': round(now - hang.since, 1),
            'stack': stack,
        }
        self._event('agent', 'hung', data)
        self._mark()

    def _return(self, thread: int, now: float) -> None:
        hang = self._hung.pop(thread)
        LOG.warning('%s has returned', hang.what)
        data = {'what': hang.what, 'seconds': round(now - hang.since, 1)}
        self._event('agent', 'returned', data)
        self._mark()

    def _mark(self) -> None:
        """Let the health of each extension say what hangs; the same text each time."""
        found: dict[str, set[str]] = {}
        for hang in self._hung.values():
            found.setdefault(hang.what.partition('.')[0], set()).add(hang.what)
        for loaded in self._known.extensions():
            names = sorted(found.get(loaded.name, ()))
            loaded.hung = f'hangs: {", ".join(names)}' if names else ''


def _is_late(busy: pool.Busy, now: float) -> bool:
    work = busy.argument
    if not isinstance(work, requests.Request):
        return now - busy.since > PERIODIC_SECONDS
    if work.context is None:
        return now - busy.since > BEGIN_SECONDS
    return work.context.cancelled


def _name(work: Any) -> str:
    return str(getattr(work, 'name', 'agent'))


class Statistics:
    """Reports as facts, every so often, what the agent takes and does.

    :param seconds: returns how often; 0: never.
    """

    def __init__(
        self,
        facts: Facts,
        seconds: Callable[[], float],
        counted: counts.Counts,
        queue: Callable[[], Mapping[str, int]],
    ) -> None:
        self._facts = facts
        self._seconds = seconds
        self._counted = counted
        self._queue = queue
        self._last, self._cpu = time.monotonic(), time.process_time()

    def look(self) -> None:
        """Report if it is time; only what changed is sent on."""
        now, seconds = time.monotonic(), self._seconds()
        passed = now - self._last
        if not seconds or passed < seconds:
            return
        cpu = time.process_time()
        share = (cpu - self._cpu) / passed
        self._last, self._cpu = now, cpu
        self._facts(
            'agent',
            {
                # What flutters is rounded: an idle agent reports nothing new.
                'memory_mib': round(memory() / 2**20),
                'cpu_percent': round(100 * share),
                'snapshots_noticed_by': machine.read().noticed_by,
                **self._queue(),
                'calls': {
                    name: summary(calls) for name, calls in self._counted.ran.items()
                },
            },
        )


def summary(calls: counts.Calls) -> dict[str, Any]:
    """Return ``{calls, errors, mean_ms, longest_ms}``."""
    return {
        'calls': calls.calls,
        'errors': calls.errors,
        'mean_ms': round(1000 * calls.seconds / calls.calls, 1),
        'longest_ms': round(1000 * calls.longest, 1),
    }


def memory(pid: int | str = 'self') -> int:
    """Return the resident memory of a process in bytes.

    :raises OSError: there is no such process.
    """
    with open(f'/proc/{pid}/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * _PAGE
