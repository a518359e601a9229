# SPDX-License-Identifier: Apache-2.0
"""What the kernel announces changes on: files that a poll can sleep on.

Changes of links and addresses come on a netlink socket, of disks on another, of mounts
by a priority event on /proc/self/mountinfo (proc(5)), of the hostname by one on its
file in /proc/sys, and of sessions by inotify(7) on the folder where logind keeps them.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import socket
from collections.abc import Callable, Collection
from typing import Any

from guestagent_monitoring import netlink

LOG = logging.getLogger(__name__)

#: logind writes a file here for each session, and a new one when it changes.
SESSIONS = '/run/systemd/sessions'

#: IN_CREATE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE; IN_NONBLOCK and IN_CLOEXEC.
_CHANGES = 0x100 | 0x40 | 0x80 | 0x200
_INOTIFY_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Source:
    """Something that the kernel announces changes of; owns its file.

    :ivar facts: what to look at then.
    :param matters: whether what was announced concerns them; ``None``: all does.
    """

    def __init__(
        self,
        facts: tuple[str, ...],
        file: Any,
        events: int,
        matters: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.facts = facts
        self.file = file
        self.events = events
        self._matters = matters

    def drain(self) -> bool:
        """Take what was announced; return whether it concerns the facts."""
        if self.events & select.POLLIN == 0:
            return True  # there is nothing to take
        read = (
            self.file.recv if isinstance(self.file, socket.socket) else self.file.read
        )
        found = self._matters is None
        try:
            while data := read(netlink.BUFFER):
                found = found or (self._matters is not None and self._matters(data))
        except BlockingIOError:
            pass  # no more is there
        except OSError:
            return True  # more was announced than fits, and some of it is lost
        return found


def open_sources(facts: Collection[str]) -> list[Source]:
    """Return what this kernel lets us watch of these facts.

    Where it does not, that is logged; they are noticed periodically.
    """
    makers: tuple[tuple[tuple[str, ...], Callable[[], Source | None]], ...] = (
        (('nics',), _links),
        (('filesystems',), functools.partial(_file, '/proc/self/mountinfo')),
        (('hostname', 'fqdn'), functools.partial(_file, '/proc/sys/kernel/hostname')),
        (('disk_serials',), _devices),
        (('users', 'sessions'), _sessions),
    )
    sources = []
    for names, make in makers:
        wanted = tuple(name for name in names if name in facts)
        if not wanted:
            continue
        try:
            source = make()
        except OSError as error:
            LOG.warning(
                'changes of %s are noticed only periodically: %s', wanted[0], error
            )
            continue
        if source is not None:
            source.facts = wanted
            sources.append(source)
    return sources


def watch_folder(path: str) -> Any:
    """Return a file that becomes readable when something appears in a folder, or goes.

    :raises OSError: there is no such folder, or the kernel refuses.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.inotify_init1(_INOTIFY_FLAGS)
    if number < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if libc.inotify_add_watch(number, os.fsencode(path), _CHANGES) < 0:
        code = ctypes.get_errno()
        os.close(number)
        raise OSError(code, os.strerror(code), path)
    return open(number, 'rb', 0)


def _links() -> Source:
    return Source((), netlink.subscribe(), select.POLLIN)


def _devices() -> Source:
    return Source((), netlink.subscribe_devices(), select.POLLIN, netlink.is_of_a_disk)


def _file(path: str) -> Source:
    return Source((), open(path, 'rb', 0), select.POLLPRI)


def _sessions() -> Source | None:
    if not os.path.isdir(SESSIONS):
        return None  # a guest without logind
    return Source((), watch_folder(SESSIONS), select.POLLIN)
