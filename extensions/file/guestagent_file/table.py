# SPDX-License-Identifier: Apache-2.0
"""What callers hold open between two commands: files, pushes and pulls, by number.

What a caller has opened, nobody else can use.  What nobody uses for a while is closed,
by a thread that is there as long as anything is open.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import TypeVar

from guestagent import errors
from guestagent_file import failures


class Held:
    """Something that is open.

    :ivar caller: whose it is.
    :ivar path: by which it was opened.
    :ivar used: when it was last used, by :func:`time.monotonic`.
    :ivar users: how many threads use it now.
    """

    #: What callers call it.
    kind = 'handle'

    def __init__(self, caller: str, path: str) -> None:
        self.caller = caller
        self.path = path
        self.used = time.monotonic()
        self.users = 0

    def close(self) -> None:
        """Let go of it; called once, when nobody uses it."""


Kind = TypeVar('Kind', bound=Held)


class Table:
    """All that is open.

    :param most: how much may be.
    :param idle: seconds until it is closed, unless it is used.
    """

    def __init__(self, most: int, idle: float) -> None:
        self._most = most
        self._idle = idle
        self._held: dict[int, Held] = {}
        # What was opened before a restart must not be taken for what is open now.
        self._numbers = itertools.count(int.from_bytes(os.urandom(3), 'big') + 1)
        self._changed = threading.Condition()
        self._watched = False

    def __len__(self) -> int:
        return len(self._held)

    def require_room(self) -> None:
        """Look whether there is room for one more.

        :raises guestagent.errors.GuestError: there is none.
        """
        if len(self._held) >= self._most:
            raise errors.GuestError(
                f'{self._most} files are open already ([file] handles_max): '
                f'Too many open files'
            )

    def add(self, held: Held) -> int:
        """Keep it, and return its number; without room it is closed.

        :raises guestagent.errors.GuestError: there is no room.
        """
        with self._changed:
            try:
                self.require_room()
            except errors.GuestError:
                held.close()
                raise
            number = next(self._numbers)
            self._held[number] = held
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name='idle', daemon=True).start()
            return number

    @contextlib.contextmanager
    def use(self, caller: str, number: int, kind: type[Kind]) -> Iterator[Kind]:
        """Return what has this number; it stays open within the ``with`` block.

        :raises guestagent.errors.InvalidArgument: the caller has none of this number.
        """
        with self._changed:
            held = self._find(caller, number, kind)
            held.users += 1
        try:
            yield held
        finally:
            with self._changed:
                held.users -= 1
                held.used = time.monotonic()
                # It was closed meanwhile, and could not be.
                if not held.users and self._held.get(number) is not held:
                    held.close()

    def close(self, caller: str, number: int, kind: type[Kind]) -> None:
        """Close it as soon as nobody uses it.

        :raises guestagent.errors.InvalidArgument: the caller has none of this number.
        """
        with self._changed:
            held = self._find(caller, number, kind)
            self._drop(number, held)

    def of(self, caller: str) -> list[tuple[int, Held]]:
        """Return what a caller has open, by number."""
        with self._changed:
            return [
                (number, held)
                for number, held in self._held.items()
                if held.caller == caller
            ]

    def clear(self) -> None:
        """Close all."""
        with self._changed:
            for number, held in list(self._held.items()):
                self._drop(number, held)

    def _find(self, caller: str, number: int, kind: type[Kind]) -> Kind:
        held = self._held.get(number)
        if not isinstance(held, kind) or held.caller != caller:
            raise failures.invalid(
                f"{kind.kind} '{number}' has not been found, it may have been idle "
                f'for too long',
                errno.EBADF,
            )
        return held

    def _drop(self, number: int, held: Held) -> None:
        del self._held[number]
        self._changed.notify_all()
        if not held.users:
            held.close()

    def _watch(self) -> None:
        """Close what was idle for too long, until nothing is open; a thread."""
        with self._changed:
            while self._held:
                now = time.monotonic()
                for number, held in list(self._held.items()):
                    if not held.users and held.used + self._idle <= now:
                        self._drop(number, held)
                used = [now if one.users else one.used for one in self._held.values()]
                if used:
                    self._changed.wait(max(min(used) + self._idle - now, 0.05))
            self._watched = False
