# SPDX-License-Identifier: Apache-2.0
"""Looks at the statistics that an administrator has defined, each when it is due."""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

from guestagent_monitoring import bounded, programs

if TYPE_CHECKING:
    from guestagent_monitoring import definitions

#: How much a command or a file may say.
SIZE_MAX = 64 * 1024
#: Seconds that a file may take.
FILE_SECONDS = 5.0


class Statistics:
    """Knows the statistics of a folder, and their last values.

    :param folder: read again whenever it, or a file in it, changes.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._signature: list[tuple[str, int]] = []
        self._definitions: dict[str, definitions.Definition] = {}
        self._due: dict[str, float] = {}
        self._values: dict[str, dict[str, Any]] = {}
        self._wrong: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._files = bounded.Asker(_read_file, FILE_SECONDS)

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong: with definitions by key or file, with statistics by key."""
        return {**self._wrong, **self._failed}

    def values(self) -> dict[str, dict[str, Any]]:
        """Return ``{key: {value, type, unit}}``, as told last."""
        return dict(self._values)

    def look(self) -> dict[str, dict[str, Any] | None]:
        """Look at those that are due; return what has changed, ``None``: it is gone.

        A value that cannot be told any more stays.
        """
        with self._lock:
            changed: dict[str, dict[str, Any] | None] = {}
            for key in self._load():
                if self._values.pop(key, None) is not None:
                    changed[key] = None
            now = time.monotonic()
            for key, each in self._definitions.items():
                if self._due[key] > now:
                    continue
                self._due[key] = now + each.period
                told = self._tell(each)
                if told is not None and not _alike(each, self._values.get(key), told):
                    self._values[key] = changed[key] = told
            return changed

    def _load(self) -> list[str]:
        """Read the folder if it has changed; return the keys that are gone."""
        signature = _signature(self._folder)
        if signature == self._signature:
            return []
        from guestagent_monitoring import definitions

        before = self._definitions
        self._definitions, self._wrong = definitions.load(self._folder)
        self._signature = signature
        # What is defined anew is looked at now.
        self._due = {
            key: self._due[key] if before.get(key) == each else 0.0
            for key, each in self._definitions.items()
        }
        self._failed = {
            key: text for key, text in self._failed.items() if key in self._definitions
        }
        return [key for key in before if key not in self._definitions]

    def _tell(self, each: definitions.Definition) -> dict[str, Any] | None:
        """Return what is told, ``None`` where it cannot be."""
        try:
            if each.command:
                said = programs.ask(each.command, each.timeout, size_max=SIZE_MAX)
            else:
                said = self._read(each.file)
            value = each.read(said)
        except (OSError, ValueError) as error:
            self._failed = {**self._failed, each.key: str(error)[:200]}
            return None
        self._failed = {
            key: self._failed[key] for key in self._failed if key != each.key
        }
        return {'value': value, 'type': each.type, 'unit': each.unit}

    def _read(self, path: str) -> str:
        told = self._files.ask([path])
        if path not in told:
            raise OSError(f'{path} cannot be read, or does not answer')
        return told[path]


def _read_file(path: str) -> str:
    # Neither a pipe nor a device is waited for.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, 'rb') as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f'{path} is no regular file')
        return file.read(SIZE_MAX).decode('utf-8', 'replace')


def _alike(
    each: definitions.Definition, last: dict[str, Any] | None, now: dict[str, Any]
) -> bool:
    """Whether a value has not moved by a step since it was told."""
    if last is None or (last['type'], last['unit']) != (now['type'], now['unit']):
        return False
    if each.step and each.type in ('integer', 'number'):
        return abs(float(now['value'] - last['value'])) < each.step
    return bool(last['value'] == now['value'])


def _signature(folder: str) -> list[tuple[str, int]]:
    """Return what is another as soon as a definition is."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith('.conf')]
        paths = [folder, *(os.path.join(folder, name) for name in sorted(names))]
        # Who owns it, and who may write it, changes this time too.
        return [(path, os.stat(path).st_ctime_ns) for path in paths]
    except OSError:
        return []
