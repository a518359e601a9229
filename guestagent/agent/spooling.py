# SPDX-License-Identifier: Apache-2.0
"""Keep on disk what waits in the spool, on a thread that runs while it is needed.

What the bus confirms within SAVE_DELAY never touches the disk; all else is on it,
synced, soon after.  While a thread works it has the file for itself.  A disk that
fails or is full stops nothing: what cannot be written waits in memory, within the same
bounds, and is tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import spool as spools
from guestagent.agent import spoolfile

LOG = logging.getLogger(__name__)

#: Seconds that a report has to be confirmed before it is written.
SAVE_DELAY = 0.05
#: Seconds until it is written that reports are done with; a crash before costs that
#: they are sent again.
GONE_DELAY = 1.0
#: Seconds until a disk that failed is tried again.
RETRY_DELAY = 10.0
#: Bytes of what is done with, from which the file is written anew.
WASTE_MAX = 256 * 1024

#: What was to be written, what was, and what went wrong.
_Result: TypeAlias = tuple[
    spoolfile.Work, Sequence[spoolfile.Written], errors.StorageError | None
]


class Keeper:
    """Writes a spool to its file, from :meth:`start` on; used on the loop.

    :param idle: called when the file can be read again.
    :ivar problem: why reports cannot be kept on disk; ``''``: they can.
    """

    def __init__(
        self, loop: loops.Loop, spool: spools.Spool, idle: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._spool = spool
        self._idle = idle
        self._thread: threading.Thread | None = None
        self._timer: loops.Timer | None = None
        self._urgent = self._open = self._owned = self._broken = False
        self._file: spoolfile.SpoolFile
        self._owner: spoolfile.Owner = {}
        self._result: _Result
        self._log_limit = logs.RateLimit(60)
        self.problem = ''

    @property
    def unsaved(self) -> int:
        """How many reports are in memory only because the disk does not take them."""
        return len(self._spool.unsaved) if self.problem else 0

    @property
    def busy(self) -> bool:
        """Whether a thread has the file, and it cannot be read."""
        return self._thread is not None

    def start(
        self, file: spoolfile.SpoolFile, owner: spoolfile.Owner
    ) -> spoolfile.Owner | None:
        """Keep in this file what waits; take what a process before has left in it.

        :param owner: ``instance``, and what else tells this guest from others.
        :returns: the owner before, if there was one.
        """
        self._file, self._owner = file, owner
        try:
            found = file.open()
        except errors.StorageError as error:
            self._fail(error)
            return None
        self._open = True
        if found.problem:
            LOG.error('the spool is damaged, reports may be lost: %s', found.problem)
        self._spool.dropped = found.dropped
        if found.owner is not None and found.owner['instance'] != owner['instance']:
            LOG.warning(
                'the spool is that of instance %s: its %d reports are not sent',
                found.owner['instance'],
                len(found.reports),
            )
            self._spool.gone += [report.id for report in found.reports]
            self._spool.dropped, found.reports = 0, []
        for report in found.reports:
            self._spool.restore(report)
        if found.reports:
            LOG.info('%d reports wait from before', len(found.reports))
        self._owned = found.owner == owner
        self.look()
        return found.owner

    def own(self, owner: spoolfile.Owner) -> None:
        """Note that what tells this guest from others has changed."""
        self._owned = self._owned and owner == self._owner
        self._owner = owner
        self.look()

    def look(self) -> None:
        """Arrange for what is to be written; called after each change."""
        if not self._open or self._thread is not None:
            return
        urgent = bool(self._spool.unsaved) or not self._owned
        if not urgent and not self._spool.gone:
            return
        if self._timer is not None:
            if self._urgent or not urgent or self.problem:
                return
            self._timer.cancel()
        self._urgent = urgent
        delay = SAVE_DELAY if urgent else GONE_DELAY
        self._timer = self._loop.call_later(
            RETRY_DELAY if self.problem else delay, self._begin
        )

    def text(self, report: spools.Report) -> str:
        """Return the data of a report; not while :attr:`busy`.

        :raises guestagent.errors.StorageError: it was lost.
        """
        if report.text or report.place is None:
            return report.text
        return self._file.read(report.place)

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()
            self._end()
        if self._open:
            if self._spool.unsaved or self._spool.gone:
                self._take(*self._write(*self._plan()))
            self._open = False
            self._file.close()

    def _begin(self) -> None:
        """Start the thread, unless all was confirmed meanwhile."""
        self._timer = None
        if not self._spool.unsaved and not self._spool.gone and self._owned:
            return
        anew, work = self._plan()
        self._thread = threading.Thread(
            target=self._work, args=(anew, work), name='spool', daemon=True
        )
        self._thread.start()

    def _plan(self) -> tuple[bool, spoolfile.Work]:
        """Return whether to write the file anew, and what is to be written."""
        spool = self._spool
        live = sum(one.size + spoolfile.OVERHEAD for one in spool.saved.values())
        waste = self._file.size - live
        large = waste > max(WASTE_MAX, live) and not self._file.held
        anew = self._broken or large
        reports = list(spool.unsaved.values())
        if anew:
            reports += spool.saved.values()
            reports.sort(key=lambda report: report.number)
        gone, spool.gone = spool.gone, []
        return anew, spoolfile.Work(self._owner, reports, gone, spool.dropped)

    def _work(self, anew: bool, work: spoolfile.Work) -> None:
        """Write; on the thread."""
        self._result = self._write(anew, work)
        self._loop.call_soon(self._end)

    def _write(self, anew: bool, work: spoolfile.Work) -> _Result:
        try:
            if anew:
                return work, self._file.rewrite(work), None
            return work, *self._file.save(work)
        except errors.StorageError as error:
            return work, [], error

    def _end(self) -> None:
        """Take over what the thread has done; on the loop, or when it has ended."""
        if self._thread is None:
            return
        self._thread = None
        self._take(*self._result)
        self.look()
        self._idle()

    def _take(
        self,
        work: spoolfile.Work,
        written: Sequence[spoolfile.Written],
        error: errors.StorageError | None,
    ) -> None:
        for report, place in written:
            self._spool.note_saved(report, place)
        if error is not None:
            self._spool.gone += work.gone
            self._fail(error)
            return
        self._owned = work.owner == self._owner
        self._broken = False
        if self.problem:
            self.problem = ''
            LOG.info('the disk keeps reports again')

    def _fail(self, error: errors.StorageError) -> None:
        self.problem = str(error)
        self._broken = not isinstance(error, errors.DiskFull)
        if self._log_limit.allow('disk') is not None:
            LOG.error('reports wait in memory only: %s', error)
