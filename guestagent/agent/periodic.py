# SPDX-License-Identifier: Apache-2.0
"""Call the periodic methods of extensions, each on a worker and never twice at once."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable

from guestagent import extension
from guestagent import loop as loops
from guestagent.agent import pool as pools
from guestagent.agent import registry

LOG = logging.getLogger(__name__)

#: Seconds until a method is tried again that found no free worker.
CROWDED = 1.0


class _Task:
    """One periodic method: waits on the loop, runs on a worker, waits again.

    :ivar name: ``<extension>.<method>``.
    """

    def __init__(
        self,
        loop: loops.Loop,
        pool: pools.Pool,
        name: str,
        method: Callable[[], None],
        spacing: Callable[[], float],
        jitter: float,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self.name = name
        self._method = method
        self._spacing = spacing
        self._jitter = jitter
        self._last = spacing()
        self._running = False
        self._timer: loops.Timer | None = None
        self._stopped = False

    def wait(self, seconds: float) -> None:
        """Run in about so many seconds; on the loop."""
        if not self._stopped:
            self._timer = self._loop.call_later(seconds, self._begin)

    def wait_spacing(self) -> None:
        """Run after the period, moved at random by the jitter; never if it is 0."""
        self._running = False
        self._last = spacing = self._spacing()
        if spacing > 0:
            self.wait(spacing * random.uniform(1 - self._jitter, 1 + self._jitter))

    def respace(self) -> None:
        """Wait anew if the period has changed; one that runs will by itself."""
        if not self._running and self._spacing() != self._last:
            if self._timer is not None:
                self._timer.cancel()
            self.wait_spacing()

    def stop(self) -> None:
        """Run no more; a run that has begun goes on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._running = self._pool.submit(_Task._run, self)
        if not self._running:
            self.wait(CROWDED)

    def _run(self) -> None:
        try:
            self._method()
        except Exception:
            LOG.exception('periodic method %s failed', self.name)
        self._loop.call_soon(self.wait_spacing)


class Periodics:
    """All periodic methods of the loaded extensions."""

    def __init__(self, loop: loops.Loop, pool: pools.Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._tasks: list[_Task] = []

    def start(self, loaded: registry.Loaded) -> None:
        """Start the methods of one extension."""
        for method, info in loaded.periodics:
            spacing = functools.partial(_spacing, loaded, info)
            task = _Task(
                self._loop,
                self._pool,
                f'{loaded.name}.{method.__name__}',
                method,
                spacing,
                info.jitter,
            )
            self._tasks.append(task)
            first = 0.0 if info.immediately else info.first
            if first is not None and spacing() > 0:
                task.wait(first)
            else:
                task.wait_spacing()

    def respace(self) -> None:
        """Take over periods that have changed."""
        for task in self._tasks:
            task.respace()

    def stop(self) -> None:
        """Start no more runs."""
        for task in self._tasks:
            task.stop()


def _spacing(loaded: registry.Loaded, info: extension.PeriodicInfo) -> float:
    if info.option is None or loaded.instance is None:
        return info.spacing
    return float(getattr(loaded.instance.conf, info.option))
