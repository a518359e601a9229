# SPDX-License-Identifier: Apache-2.0
"""Freeze file systems one after the other, and thaw what is frozen at any time."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from typing import NamedTuple

from guestagent_fsfreeze import calls

#: What the kernel says of one that is not frozen by us, and harms nothing.
_SKIPPED = (errno.EBUSY, *calls.UNSUPPORTED)


class Target(NamedTuple):
    """A file system that is to be frozen, and a descriptor of it."""

    point: str
    device: str
    fd: int


class Freezer:
    """Freezes on one thread, and thaws on another.

    To freeze one may wait: for whoever writes to it, or for another that is frozen and
    should not have been.  So :meth:`thaw` does not wait for it; what is frozen only
    afterwards is thawed at once.

    :param targets: in their order.
    :ivar frozen: those that are.
    :ivar skipped: (point, why) of those that cannot be.
    :ivar error: (point, error) that ended it; ``None``: there was none.
    :ivar faults: what went wrong with the thaw.
    :ivar done: whether it has come to its end.
    """

    def __init__(self, targets: Sequence[Target], kernel: calls.Calls) -> None:
        self._targets = targets
        self._kernel = kernel
        self._lock = threading.Lock()
        self._over = False
        self.frozen: list[Target] = []
        self.skipped: list[tuple[str, str]] = []
        self.error: tuple[str, OSError] | None = None
        self.faults: list[str] = []
        self.done = False

    def freeze(self) -> None:
        """Freeze all; stop at what goes wrong, which thaws nothing."""
        self._freeze()
        self.done = True

    def _freeze(self) -> None:
        for target in self._targets:
            if self._over:
                return
            try:
                self._kernel.freeze(target.fd)
            except OSError as error:
                if error.errno not in _SKIPPED:
                    self.error = target.point, error
                    return
                self.skipped.append((target.point, error.strerror or str(error)))
                continue
            if not self._keep(target):
                self._thaw(target)

    def _keep(self, target: Target) -> bool:
        """Take note that one is frozen, if it is still wanted."""
        with self._lock:
            if not self._over:
                self.frozen.append(target)
            return not self._over

    def thaw(self) -> int:
        """Thaw all, those first that hold others; return how many were frozen."""
        with self._lock:
            self._over = True
            frozen = self.frozen[::-1]
        return sum(map(self._thaw, frozen))

    def _thaw(self, target: Target) -> bool:
        try:
            return calls.thaw_fully(self._kernel, target.fd)
        except OSError as error:
            # The others must be, whatever becomes of this one.
            self.faults.append(f'{target.point} cannot be thawed: {error.strerror}')
            return False
