# SPDX-License-Identifier: Apache-2.0
"""The replay window on the disk: after a restart it is what it was.

Each command that got in is appended at once, which a crash of the agent does not undo,
and synced within a second.  What a crash of the guest may lose is what came in that
second: commands that were sealed then are refused afterwards.  (One that changes the
guest is in the journal besides, which is synced before it runs.)
"""

from __future__ import annotations

import json
import logging
import threading
import time

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import identity, machine, recordfile, spool
from guestagent.seal import window

LOG = logging.getLogger(__name__)

KIND, VERSION = b'GARP', 1

#: Seconds until what was appended is synced.
SYNC = 1.0
#: What a crash of the guest may have lost, in milliseconds: that, and a slow disk.
MARGIN = 5000
#: The file is written anew when it has so many records, and twice those needed.
RECORDS_MAX = 20000

_OWNER, _CLOSED = b'O', b'C'


class ReplayFile:
    """Keeps a window; all but the syncing happens on the loop."""

    def __init__(
        self,
        file: recordfile.RecordFile,
        found: window.Window,
        loop: loops.Loop,
        instance: str,
    ) -> None:
        self._file = file
        self._window = found
        self._loop = loop
        self._instance = instance
        self._owner = b''
        self._count = 0
        self._timer: loops.Timer | None = None
        self._syncing: threading.Thread | None = None
        self._broken = False
        self._log_limit = logs.RateLimit(60)

    def open(self, here: machine.Machine) -> None:
        """Read what is there, and begin.

        :raises guestagent.errors.StorageError: the file cannot be used.
        """
        found = self._file.open()
        before, last, strange = None, b'', 0
        for _, record in found.records:
            last = record[:1]
            if last == _OWNER:
                before = json.loads(record[1:])
            elif last != _CLOSED:
                try:
                    self._window.replay(record)
                except ValueError:
                    strange += 1
        boot_id = identity.Identity(self._instance).boot_id
        owner = {'boot_id': boot_id, 'generation': here.generation}
        damaged = bool(found.gaps or found.set_aside or strange)
        crashed = last not in (_CLOSED, b'') and (
            before is None or before['boot_id'] != boot_id
        )
        now = int(time.time() * 1000)
        self._window.start(now, MARGIN if crashed else 0, damaged)
        if damaged:
            LOG.warning(
                'what is known of sealed commands was damaged (%s): those sealed '
                'before now are refused',
                found.problem() or f'{strange} records make no sense',
            )
        if before is not None and _differ(before['generation'], here.generation):
            self._begin_epoch()
        self._owner = _OWNER + json.dumps(owner).encode()
        self._rewrite()

    def keep(self, seal: window.Seal) -> None:
        """Keep a command that got in.

        A disk that does not take it is logged, and tried again with the next one.
        """
        try:
            large = self._count > max(RECORDS_MAX, 2 * len(self._window))
            if self._broken or (large and not self._file.held):
                self._rewrite()  # the command is among what the window knows
                return
            self._file.append(self._window.record(seal))
        except errors.StorageError as error:
            self._fail(error)
            return
        self._count += 1
        if self._timer is None:
            self._timer = self._loop.call_later(SYNC, self._sync)

    def renew(self) -> None:
        """Begin an epoch: the guest goes on from a snapshot."""
        self._begin_epoch()
        try:
            self._rewrite()
        except errors.StorageError as error:
            self._fail(error)

    def close(self) -> None:
        """Write that nothing is missing, and let go of the file."""
        if self._timer is not None:
            self._timer.cancel()
        if self._syncing is not None:
            self._syncing.join()
        if not self._broken and self._owner:
            try:
                self._file.append(_CLOSED)
                self._file.sync()
            except errors.StorageError as error:
                self._fail(error)
        self._file.close()

    def _begin_epoch(self) -> None:
        self._window.renew(spool.new_id(self._instance))
        LOG.warning(
            'the guest goes on from a snapshot: commands that were sealed before are '
            'refused'
        )

    def _rewrite(self) -> None:
        if self._syncing is not None:
            self._syncing.join()
        self._broken = True
        records = [self._owner, *self._window.records()]
        self._file.rewrite(records)
        self._count = len(records)
        self._broken = False

    def _sync(self) -> None:
        """Sync, on a thread of its own: a disk may be slow."""
        self._timer = None
        if self._syncing is not None and self._syncing.is_alive():
            self._timer = self._loop.call_later(SYNC, self._sync)
            return
        self._syncing = threading.Thread(target=self._run, name='replay', daemon=True)
        self._syncing.start()

    def _run(self) -> None:
        try:
            self._file.sync()
        except errors.StorageError as error:
            self._loop.call_soon(self._fail, error)

    def _fail(self, error: errors.StorageError) -> None:
        self._broken = True
        held = self._log_limit.allow('failed')
        if held is not None:
            LOG.error(
                'which sealed commands came is kept in memory only: %s (%d others '
                'since the last such line)',
                error,
                held,
            )


def _differ(before: str, now: str) -> bool:
    """Whether two generation ids are known, and are not the same."""
    return bool(before and now) and before != now
