# SPDX-License-Identifier: Apache-2.0
"""When the agent's files are held: as long as somebody says that their disk is frozen.

Who freezes says before which devices, and for how long at most; and when it is over.
If he does not, it is over some seconds later.  What is said is kept in the folder of
the area, ``holds``, so that an agent that starts anew knows before it touches the disk;
the extension that has said it is then roused, to say how it stands.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from guestagent import errors
from guestagent import loop as loops
from guestagent.agent.holding import disk as disks

if TYPE_CHECKING:
    from guestagent.agent.holding import logbook

LOG = logging.getLogger(__name__)

#: Seconds for which files are held longer than was said: the clocks differ a little.
MARGIN = 5.0
#: Seconds until it is tried again to bring home what is in the area.
RETRY = 10.0
#: Seconds that a release waits for that.
PATIENCE = 5.0
_HOLDS, _LOG, _FILES = 'holds', 'log', 'files'


class Hold(NamedTuple):
    """What one extension has said.

    :ivar until: when it is over at the latest, on the clock CLOCK_BOOTTIME.
    """

    devices: list[str]
    until: float


class Storage:
    """Holds the agent's files.

    :param folder: the agent's folder of its state.
    :param area: the folder below which there is one for this agent, while it is needed.
    :param room: how many bytes it may take.
    :ivar disk: what all files are opened through.
    """

    def __init__(self, folder: str, area: str, room: int, loop: loops.Loop) -> None:
        self.disk = disks.Disk()
        self._folder = os.path.abspath(folder)
        self._areas = area
        self._room = room
        self._loop = loop
        self._lock = threading.Lock()
        self._holds: dict[str, Hold] = {}
        self._merging: threading.Thread | None = None
        self._logbook: logbook.Logbook | None = None
        self._writes_bytecode = not sys.dont_write_bytecode
        self._closed = False

    @property
    def holders(self) -> list[str]:
        """The extensions that have something frozen, as far as is known."""
        return list(self._holds)

    def open(self) -> None:
        """Take up what an agent before has left; before the disk is touched.

        :raises guestagent.errors.StorageError: it cannot be.
        """
        # An area that nobody could make has nothing in it.
        if not os.path.isdir(self._areas) or not os.path.isdir(self._area):
            return
        try:
            self._read()
            if self._holds or self._has_tails():
                self._begin(self._devices())
        except (OSError, TimeoutError) as error:
            raise self._unusable(error) from error
        LOG.warning('there is something from while the disk was frozen: %s', self._area)
        if not self._holds:
            self._begin_merge()
        for name in self._holds:
            self._watch(name)

    def hold(self, holder: str, devices: Sequence[str], seconds: float) -> bool:
        """Touch nothing that is on these devices, until :meth:`release`.

        :param devices: ``major:minor`` of each, as in ``/proc/self/mountinfo``.
        :param seconds: when that comes at the latest.
        :returns: whether the agent's files are on one of them.
        :raises guestagent.errors.StorageError: that cannot be done: the area would be
            frozen, too, or cannot be made, or the disk does not answer.
        """
        merging = self._merging
        if merging is not None:
            merging.join(PATIENCE)
            if merging.is_alive():
                raise errors.StorageError(
                    'what was written while the disk was frozen before is not merged '
                    'yet: repeat it later'
                )
        until = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds + MARGIN
        with self._lock:
            before = dict(self._holds)
            self._holds[holder] = Hold(list(devices), until)
            try:
                for folder in (self._area, os.path.join(self._area, _FILES)):
                    os.makedirs(folder, 0o700, exist_ok=True)
                self._begin(self._devices())
                self._write()
            except (OSError, TimeoutError) as error:
                self._holds = before
                self._end_if_unused()
                raise self._unusable(error) from error
            except errors.StorageError:
                self._holds = before
                self._end_if_unused()
                raise
        self._watch(holder)
        return self.disk.held

    def release(self, holder: str) -> None:
        """Go back to the disk, if nobody else has it frozen.

        It waits a few seconds for what was written meanwhile to be merged.
        """
        with self._lock:
            if self._holds.pop(holder, None) is None:
                return
            if self._holds:
                self._write()
                return
        merging = self._begin_merge()
        merging.join(PATIENCE)

    def close(self) -> None:
        """Leave what is held for the next agent."""
        self._closed = True
        merging = self._merging
        if merging is not None:
            merging.join(PATIENCE)

    @property
    def _area(self) -> str:
        from guestagent import digest

        return os.path.join(self._areas, digest.sha256(self._folder.encode())[:16])

    def _devices(self) -> set[str]:
        return {device for hold in self._holds.values() for device in hold.devices}

    def _has_tails(self) -> bool:
        try:
            return bool(os.listdir(os.path.join(self._area, _FILES)))
        except FileNotFoundError:
            return False

    def _begin(self, devices: Collection[str]) -> None:
        """Hold what is on these devices."""
        from guestagent.agent.holding import logbook, overlay, places

        if places.device(self._area) in devices:
            raise errors.StorageError(
                f'{self._area} is on a file system that is to be frozen: name a folder '
                f'in memory, [freeze] folder'
            )
        if logbook.is_affected(devices) and self._logbook is None:
            self._logbook = logbook.Logbook(os.path.join(self._area, _LOG))
        if self.disk.held:
            return
        # What is imported would leave its compiled form beside it.
        sys.dont_write_bytecode = True
        where = places.existing(self._folder)
        if self._has_tails() or places.device(where) in devices:
            area = os.path.join(self._area, _FILES)
            self.disk.hold(lambda: overlay.Overlay(area, self._folder, self._room))

    def _watch(self, name: str) -> None:
        self._loop.call_soon(self._watch_later, name)

    def _watch_later(self, name: str) -> None:
        hold = self._holds.get(name)
        if hold is not None and not self._closed:
            left = hold.until - time.clock_gettime(time.CLOCK_BOOTTIME)
            if left > 0:
                self._loop.call_later(left, lambda: self._watch_later(name))
                return
            LOG.warning('%s has not said that the disk is thawed; it must be', name)
            threading.Thread(target=self.release, args=(name,), daemon=True).start()

    def _begin_merge(self) -> threading.Thread:
        with self._lock:
            merging = self._merging
            if merging is None:
                # It may find the disk frozen by somebody else, and wait.
                merging = self._merging = threading.Thread(
                    target=self._merge, name='merge', daemon=True
                )
                merging.start()
            return merging

    def _merge(self) -> None:
        """Bring home what is in the area; the thread."""
        try:
            self.disk.release()
        except (OSError, TimeoutError) as error:
            LOG.error('what was written while the disk was frozen waits: %s', error)
            self._merging = None
            self._loop.call_soon(self._retry_later)
            return
        with self._lock:
            self._merging = None
            if not self._holds:
                self._end_if_unused()
        LOG.info('the disk is used again')

    def _retry_later(self) -> None:
        if not self._closed:
            self._loop.call_later(RETRY, self._retry)

    def _retry(self) -> None:
        if not self._holds and not self._closed:
            self._begin_merge()

    def _end_if_unused(self) -> None:
        """Be as before, and remove the area; in the lock."""
        if self._holds or self.disk.held:
            return
        sys.dont_write_bytecode = not self._writes_bytecode
        book, self._logbook = self._logbook, None
        dropped = book.end() if book is not None else 0
        if dropped:
            LOG.warning('%d lines of the log were lost meanwhile', dropped)
        import shutil

        shutil.rmtree(self._area, ignore_errors=True)

    def _read(self) -> None:
        try:
            with open(os.path.join(self._area, _HOLDS), encoding='utf-8') as file:
                found = json.load(file)
        except (FileNotFoundError, ValueError):
            return
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if found['boot_id'] == _boot_id():
            self._holds = {
                name: Hold(devices, until)
                for name, (devices, until) in found['holds'].items()
                if until > now
            }

    def _write(self) -> None:
        found: dict[str, Any] = {'boot_id': _boot_id(), 'holds': self._holds}
        path = os.path.join(self._area, _HOLDS)
        with open(f'{path}.new', 'w', encoding='utf-8') as file:
            json.dump(found, file)
        os.rename(f'{path}.new', path)

    def _unusable(self, error: Exception) -> errors.StorageError:
        if isinstance(error, TimeoutError) and not error.args:
            return errors.StorageError(f'{self._folder}: the disk does not answer')
        return errors.StorageError(
            f'[freeze] folder: {self._area}: {getattr(error, "strerror", "") or error}'
        )


def _boot_id() -> str:
    with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
        return file.read().strip()
