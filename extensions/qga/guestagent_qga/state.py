# SPDX-License-Identifier: Apache-2.0
"""What must outlive the agent: the next handle, and that it is frozen.

As qemu-ga's: ``qga.state`` is a file of GLib's key files, and ``qga.state.isfrozen`` is
there while something is frozen.
"""

from __future__ import annotations

import os
import threading

#: The first handle of a new machine.
FIRST_HANDLE = 1000

_GROUP, _KEY = '[global]', 'fd_counter'


class State:
    """The two files in a folder; not there, both say nothing.

    :raises OSError: they cannot be read, or not be written.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, 'qga.state')
        self._frozen = f'{self._path}.isfrozen'
        self._lock = threading.Lock()
        self._next = self._read()
        self._write()

    @property
    def was_frozen(self) -> bool:
        """Whether the agent ended while something was frozen."""
        return os.path.exists(self._frozen)

    def note_frozen(self, frozen: bool) -> None:
        """Keep whether something is frozen.

        :raises OSError: it cannot be kept.
        """
        if frozen:
            os.close(os.open(self._frozen, os.O_WRONLY | os.O_CREAT, 0o600))
        else:
            try:
                os.unlink(self._frozen)
            except FileNotFoundError:
                pass

    def take_handle(self) -> int:
        """Return a handle that there was never before.

        :raises OSError: that cannot be kept.
        """
        with self._lock:
            self._next += 1
            self._write()
            return self._next - 1

    def _read(self) -> int:
        try:
            with open(self._path, encoding='utf-8', errors='replace') as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return FIRST_HANDLE
        for line in lines:
            name, _, value = line.partition('=')
            if name.strip() == _KEY and value.strip().isdecimal():
                return max(FIRST_HANDLE, int(value))
        return FIRST_HANDLE

    def _write(self) -> None:
        draft = f'{self._path}.new'
        with open(draft, 'w', encoding='utf-8') as file:
            file.write(f'{_GROUP}\n{_KEY}={self._next}\n')
        os.replace(draft, self._path)
