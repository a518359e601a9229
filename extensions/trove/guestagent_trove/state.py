# SPDX-License-Identifier: Apache-2.0
"""What must be known after a crash or a restart: one small JSON file.

``phase``: ``new`` (nobody has prepared the instance), ``building``, ``ready`` or
``failed``; ``sent``: the last stamp of each method to the conductor; ``begun``: what is
under way and must end for the control plane, by a number; ``restart``: the server must
be restarted; ``backups``: what has become of those of late, by id.
"""

from __future__ import annotations

import json
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors

NEW, BUILDING, READY, FAILED = 'new', 'building', 'ready', 'failed'

#: Seconds between two stamps where the clock does not go forward; no database rounds
#: such a step away.
STEP = 0.001

#: What has become of a backup is told again at the heartbeats 1, 2, 4, ... after it.
AGAIN_MAX = 64


class State:
    """One guest's; used from several threads.

    :param now: the clock.
    :raises guestagent.errors.StorageError: the folder cannot be used.
    """

    def __init__(
        self, folder: pathlib.Path, now: Callable[[], float] = time.time
    ) -> None:
        self._path = folder / 'state.json'
        self._now = now
        self._lock = threading.RLock()
        self._values: dict[str, Any] = {
            'phase': NEW, 'sent': {}, 'begun': {}, 'restart': False, 'backups': {}
        }  # fmt: skip
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._values.update(json.loads(self._path.read_text(encoding='utf-8')))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise errors.StorageError(f'{self._path}: {error}') from error

    @property
    def phase(self) -> str:
        """How far the instance is."""
        return str(self._values['phase'])

    @property
    def restart(self) -> bool:
        """Whether the server must be restarted for what was asked of it."""
        return bool(self._values['restart'])

    def begin(self, work: Mapping[str, Any]) -> str:
        """Note, on the disk, that something has begun; return its number."""
        with self._lock:
            number = str(
                max((int(key) for key in self._values['begun']), default=0) + 1
            )
            self._values['begun'][number] = dict(work)
            self._save(True)
            return number

    def end(self, number: str) -> None:
        """Note that it has ended."""
        with self._lock:
            self._values['begun'].pop(number, None)
            self._save(True)

    def begun(self) -> dict[str, dict[str, Any]]:
        """Return what has begun and not ended."""
        with self._lock:
            return dict(self._values['begun'])

    def set(self, **values: Any) -> None:
        """Note ``phase`` or ``restart``."""
        with self._lock:
            if any(self._values[name] != value for name, value in values.items()):
                self._values.update(values)
                self._save(True)

    def stamp(self, method: str) -> float:
        """Return the time for a message: later than that of any before, never later
        than need be.

        The conductor drops what is not newer than what it has seen, and a stamp in the
        future locks out all that follow.
        """
        with self._lock:
            last = self._values['sent'].get(method, 0.0)
            sent = max(round(self._now(), 6), round(last + STEP, 6))
            self._values['sent'][method] = sent
            # A power cut may cost the last stamp; then the clock is ahead of it.
            self._save(False)
            return sent

    def keep_backup(self, backup: str, fields: Mapping[str, Any]) -> None:
        """Note, on the disk, what has become of a backup, to tell it again."""
        with self._lock:
            self._values['backups'][backup] = {'fields': dict(fields), 'beats': 0}
            self._save(True)

    def backups_to_tell(self) -> dict[str, dict[str, Any]]:
        """Count a heartbeat; return the backups, with what became of them, that are to
        be told with it.
        """
        with self._lock:
            backups = self._values['backups']
            due = {}
            for backup, kept in list(backups.items()):
                kept['beats'] += 1
                if kept['beats'].bit_count() == 1:
                    due[backup] = dict(kept['fields'])
                if kept['beats'] >= AGAIN_MAX:
                    del backups[backup]
            return due

    def _save(self, synced: bool) -> None:
        new = self._path.with_suffix('.new')
        try:
            with open(new, 'w', encoding='utf-8', opener=_private) as file:
                json.dump(self._values, file)
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(new, self._path)
        except OSError as error:
            raise errors.StorageError(f'{self._path}: {error}') from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
