# SPDX-License-Identifier: Apache-2.0
"""``fsfreeze``: freeze, thaw and trim the file systems of the guest.

What only a freeze needs is imported when the first one comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension

if TYPE_CHECKING:
    from oslo_config import cfg

    from guestagent_fsfreeze import session

LOG = logging.getLogger(__name__)


class Fsfreeze(extension.Extension):
    """Holds the file systems of the guest still while a snapshot is taken."""

    version = '1.0'
    needs_root = 'to freeze, thaw and trim file systems'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._lock = threading.Lock()
        self._session: session.Session | None = None

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options."""
        from guestagent_fsfreeze import conf

        return conf.OPTIONS

    def start(self) -> None:
        """Take up what an agent before this one has frozen."""
        from guestagent_fsfreeze import state

        if state.read(self.conf.folder) is None:
            self.release_storage()
            self.report_facts({'state': 'thawed'})
            return
        from guestagent_fsfreeze import session

        self._session = session.resume(self)

    def stop(self) -> None:
        """Leave what is frozen: it is still wanted, and thaws by itself."""
        found = self._session
        if found is not None:
            found.leave()

    def busy(self) -> bool:
        """Whether something is frozen, which must be noticed when it thaws."""
        return self._current() is not None

    def health(self) -> str:
        """Return since when something is frozen."""
        found = self._current()
        if found is None or not found.since:
            return 'ok'
        since = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(found.since))
        return f'frozen since {since}: {", ".join(found.points)}'

    @extension.command(mutates=True, timeout=None)
    def freeze(
        self,
        context: extension.Context,
        mountpoints: list[str] | None = None,
        limit: float | None = None,
    ) -> dict[str, Any]:
        """Hold file systems still, all or those that are mounted there.

        ``{frozen: [mountpoint], count, thaws_at, skipped: [{mountpoint, reason}]}``:
        they thaw by themselves ``limit`` seconds later, at the time ``thaws_at``,
        whatever becomes of the agent.  Hooks run before; one that fails refuses it.
        With nothing frozen ``count`` is 0, ``thaws_at`` null, and nothing is to thaw.

        :raises guestagent.errors.InvalidArgument: the limit makes no sense.
        :raises guestagent.errors.GuestError: a hook has failed, something is frozen
            already, or a file system cannot be: then none is.
        """
        seconds = self._limit(limit)
        from guestagent_fsfreeze import session

        with self._lock:
            if self._current() is not None:
                raise errors.GuestError(
                    'file systems are frozen already: thaw them first'
                )
            made = self._session = session.Session(self)
        return made.freeze(context, mountpoints, seconds)

    @extension.command(mutates=True, timeout=300, repeatable=True, urgent=True)
    def thaw(self, context: extension.Context) -> dict[str, int]:
        """Let everything go on that is frozen, by whomever; ``{count}``.

        Hooks run after it.

        :raises guestagent.errors.GuestError: it cannot be thawed.
        """
        from guestagent_fsfreeze import session

        found = self._current()
        if found is not None:
            found.begin_thaw()
        # Before it has ended: it may wait for one that somebody else has frozen.
        count = session.thaw_others(self.conf)
        return {'count': count + (found.thaw() if found is not None else 0)}

    @extension.command(mutates=False, urgent=True)
    def status(self, context: extension.Context) -> dict[str, Any]:
        """Return what is frozen by this extension.

        ``{state: 'thawed' | 'frozen', mountpoints, since, left}``: since when, and for
        how many seconds more at most; both null if nothing is.
        """
        found = self._current()
        if found is None or not found.since:
            return {'state': 'thawed', 'mountpoints': [], 'since': None, 'left': None}
        return {
            'state': 'frozen',
            'mountpoints': found.points,
            'since': found.since,
            'left': round(max(0.0, found.until - time.time()), 3),
        }

    @extension.command(mutates=True, timeout=3600, repeatable=True)
    def trim(
        self,
        context: extension.Context,
        minimum: int = 0,
        mountpoints: list[str] | None = None,
    ) -> dict[str, Any]:
        """Tell the disks which blocks no file system uses, all or those mounted there.

        ``{paths: [{path, trimmed, minimum} | {path, error}]}``: bytes; pieces shorter
        than ``minimum`` may be left out.

        :raises guestagent.errors.InvalidArgument: the minimum makes no sense.
        :raises guestagent.errors.GuestError: something is frozen.
        """
        if not 0 <= minimum < 2**63:
            raise errors.InvalidArgument(f'minimum: {minimum} is no number of bytes')
        if self._current() is not None:
            raise errors.GuestError('file systems are frozen: thaw them first')
        from guestagent_fsfreeze import trimming

        return {
            'paths': trimming.trim(
                context, minimum, mountpoints, self.conf.never, self.conf.only
            )
        }

    def _current(self) -> session.Session | None:
        """Return the freeze that is not over."""
        found = self._session
        return found if found is not None and not found.over.is_set() else None

    def _limit(self, asked: float | None) -> float:
        most: float = self.conf.limit_max
        seconds = min(self.conf.limit, most) if asked is None else asked
        # NaN is neither above nor below.
        if not 0 < seconds <= most:
            raise errors.InvalidArgument(
                f'limit: {seconds:g} is not above 0 and at most {most:g} seconds '
                f'([fsfreeze] limit_max)'
            )
        return seconds
