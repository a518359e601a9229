# SPDX-License-Identifier: Apache-2.0
"""The audit log, as all threads write to it.

A record is with the kernel before what it tells of goes on, so it survives the agent.
The disk has it a few seconds later: one sync serves all that was written meanwhile, and
none is added to that of the journal.  The conductor is told of what the disk has only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import pool as pools
from guestagent.agent.audit import chain, files

LOG = logging.getLogger(__name__)

#: Seconds between a record and the sync that covers it.
SYNC_DELAY = 5.0
#: How many refusals are recorded in so many seconds; the others are counted.
REFUSALS, REFUSALS_SECONDS = 30, 60.0
#: Bytes of lines in one page.
PAGE = 256 * 1024

#: Takes the name of an event and its data; from any thread.
Tell = Callable[[str, Mapping[str, Any]], None]


class Log:
    """Writes records.

    :param required: whether a disk that does not take records stops what is recorded.
    :param tell: is told when that happens, and when it is over.
    :ivar synced: where the chain ends on the disk.
    """

    def __init__(
        self,
        found: files.Files,
        loop: loops.Loop,
        pool: pools.Pool,
        required: bool,
        tell: Tell,
    ) -> None:
        self._files = found
        self._loop = loop
        self._pool = pool
        self._required = required
        self._tell = tell
        self._lock = threading.Lock()
        self._dirty = self._armed = False
        self._lost = 0
        self._refusals: list[dict[str, Any]] = []
        self._window = 0.0
        self._in_window = self._held = 0
        self._log_limit = logs.RateLimit(60)
        self.synced = chain.Head()

    def open(self) -> None:
        """Go on with what is there.

        :raises guestagent.errors.StorageError: it cannot be used, and must be.
        """
        try:
            self._files.open()
        except errors.StorageError as error:
            if self._required:
                raise
            self._note_failure(error, 1)
        self.record([{'kind': 'start'}])
        # What was read may be in memory only, and is told of from now on.
        self.sync()

    def close(self) -> None:
        """Write what is left; have it on the disk."""
        self._write_refusals(None)
        self.sync()
        self._files.close()

    def require(self, several: Sequence[Mapping[str, Any]]) -> None:
        """Write records before what they tell of may happen.

        :raises guestagent.errors.StorageError: none is written, so it must not.
        """
        error = self._append(several)
        if error is not None and self._required:
            raise error

    def record(self, several: Sequence[Mapping[str, Any]]) -> None:
        """Write records of what has happened."""
        self._append(several)

    def refuse(self, record: Mapping[str, Any]) -> None:
        """Have a refusal written soon, if there were not too many; on the loop."""
        now = time.monotonic()
        if now - self._window >= REFUSALS_SECONDS:
            self._window, self._in_window = now, 0
        self._in_window += 1
        if self._in_window > REFUSALS:
            self._held += 1
            if self._held == 1:
                self._loop.call_later(REFUSALS_SECONDS, self._begin_refusals)
            return
        self._refusals.append({'at': time.time(), **record})
        if len(self._refusals) == 1:
            self._begin_refusals()

    def sync(self) -> None:
        """Have the disk hold all records."""
        try:
            with self._lock:
                if not self._dirty:
                    return
                head, sync = self._files.head, self._files.syncer()
                self._dirty = False
            sync()
        except errors.StorageError as error:
            if self._log_limit.allow('sync') is not None:
                LOG.error('the audit log: %s', error)
            with self._lock:
                self._dirty = True
            return
        with self._lock:
            self.synced = max(self.synced, head)

    def page(self, offset: int) -> dict[str, Any]:
        """Return records, from the first that is there after the first ``offset``.

        ``{lines, next}``: ``next`` is the offset of the next page, or ``None``.

        :raises guestagent.errors.StorageError: they cannot be read.
        """
        lines: list[str] = []
        size = 0
        with self._lock:
            for line in self._files.lines(offset):
                size += len(line)
                if lines and size > PAGE:
                    return {'lines': lines, 'next': chain.read(lines[-1]).head.length}
                lines.append(line)
        return {'lines': lines, 'next': None}

    def _append(
        self, several: Sequence[Mapping[str, Any]]
    ) -> errors.StorageError | None:
        """Write records, all in one; return why that could not be done."""
        at = round(time.time(), 6)
        stamped = [{'at': at, **record} for record in several]
        with self._lock:
            try:
                if self._lost:
                    lost = {'kind': 'lost', 'records': self._lost}
                    self._files.append([{'at': at, **lost}])
                    self._note_end(self._lost)
                    self._lost = 0
                self._files.append(stamped)
            except errors.StorageError as error:
                self._note_failure(error, len(stamped))
                return error
            self._dirty = True
            self._want_sync()
        return None

    def _want_sync(self) -> None:
        """Have a sync come, unless one is about to; in the lock."""
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._arm)

    def _arm(self) -> None:
        self._loop.call_later(SYNC_DELAY, self._begin)

    def _begin(self) -> None:
        self._pool.submit(self._sync, None, reserve=True)

    def _sync(self, _: None) -> None:
        with self._lock:
            self._armed = False
        self.sync()
        with self._lock:
            if self._dirty:
                self._want_sync()

    def _begin_refusals(self) -> None:
        self._pool.submit(self._write_refusals, None, reserve=True)

    def _write_refusals(self, _: None) -> None:
        refusals, self._refusals = self._refusals, []
        held, self._held = self._held, 0
        if held:
            refusals.append({'kind': 'refused', 'more': held})
        if refusals:
            self._append(refusals)

    def _note_failure(self, error: errors.StorageError, lost: int) -> None:
        first, self._lost = not self._lost, self._lost + lost
        if first:
            what = 'refused' if self._required else 'not recorded'
            LOG.error('commands that change the guest are %s: %s', what, error)
            self._tell('audit-fails', {'code': error.code, 'reason': str(error)})

    def _note_end(self, lost: int) -> None:
        LOG.info('the audit log is written again; %d records were lost', lost)
        self._tell('audit-works', {'lost': lost})
