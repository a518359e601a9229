# SPDX-License-Identifier: Apache-2.0
"""The hub's sockets in the file system, and who may connect to them."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pathlib
import socket
import stat
import struct

from guestagent import errors

PROGRAMS = 'programs.sock'
GUESTS = 'guests'
SUFFIX = '.sock'

#: sun_path of unix(7), with its closing NUL.
_PATH_MAX = 107
_BACKLOG = 1024
_CREDENTIALS = struct.Struct('3i')
_SO_PEERGROUPS = 59
#: What Python passes on at most: 256 groups.
_GROUPS_SIZE = 1024


class Folder:
    """The folder of one hub: programs.sock, and guests/<instance id>.sock.

    :param group: of the folder and programs.sock; ``None``: only the hub's own user
        gets in.
    :param guest_group: of the sockets of guests.
    :raises guestagent.errors.ConfigError: it cannot be used.
    """

    def __init__(
        self, path: pathlib.Path, group: int | None, guest_group: int | None
    ) -> None:
        self._path = path.absolute()
        self._guests = self._path / GUESTS
        self._group = group
        self._guest_group = guest_group
        groups = [gid for gid in (group, guest_group) if gid is not None]
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(path)
            self._guests.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(path / 'lock', os.O_RDWR | os.O_CREAT, 0o600)
            # Whoever connects must get through; both groups may be other ones.
            _open_up(path, groups[:1] if len(set(groups)) < 2 else [], bool(groups))
            _open_up(
                self._guests,
                [] if guest_group is None else [guest_group],
                guest_group is not None,
            )
        except OSError as error:
            raise errors.ConfigError(
                f'--listen {path}: {error.strerror}: {error.filename or path}'
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.ConfigError(
                f'--listen {path}: another hub is running there; stop it first, or '
                f'choose another folder'
            ) from None

    def known_guests(self) -> list[str]:
        """Return the guests whose sockets are there since an earlier run."""
        return sorted(
            entry.name[: -len(SUFFIX)]
            for entry in os.scandir(self._guests)
            if entry.name.endswith(SUFFIX)
            and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
        )

    def listen_programs(self) -> socket.socket:
        """Return the socket of programs.

        :raises OSError: it cannot be made.
        """
        return _listen(self._path / PROGRAMS, self._group)

    def listen_guest(self, instance: str) -> socket.socket:
        """Return the socket of a guest.

        :raises OSError: it cannot be made.
        """
        return _listen(self._guests / f'{instance}{SUFFIX}', self._guest_group)

    def close(self) -> None:
        """Remove programs.sock; the guests' sockets say who is known at the next
        start."""
        (self._path / PROGRAMS).unlink(missing_ok=True)
        os.close(self._lock)


def _check_owner(path: pathlib.Path) -> None:
    """Refuse a folder whose owner could put sockets of his own in place of ours.

    :raises OSError: it is another user's.
    """
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise PermissionError(
            errno.EPERM, f'the folder belongs to user {owner}', os.fspath(path)
        )


def _open_up(path: pathlib.Path, groups: list[int], others: bool) -> None:
    """Let a group, or where there are two of them anybody, pass through a folder."""
    mode = 0o700
    if groups:
        os.chown(path, -1, groups[0])
        mode = 0o750
    elif others:
        mode = 0o711
    os.chmod(path, mode)


def _listen(path: pathlib.Path, group: int | None) -> socket.socket:
    size = len(os.fsencode(path))
    if size > _PATH_MAX:
        raise OSError(f'a socket cannot have a path of {size} bytes: {path}')
    # What is there is stale: the lock of the folder is ours.
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        mask = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(mask)
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, 0o660)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def peer(sock: socket.socket) -> tuple[int, int, frozenset[int]]:
    """Return process id, user and groups of who connected, as the kernel says."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        more = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_SIZE)
    except OSError:
        more = b''
    return (
        pid,
        uid,
        frozenset({gid, *(gid for (gid,) in struct.iter_unpack('I', more))}),
    )


def may_connect(uid: int, groups: frozenset[int], group: int | None) -> bool:
    """Whether a user may: the hub's own, root, and who is in the group."""
    return uid in (os.geteuid(), 0) or group in groups


def find_group(name: str) -> int:
    """Return the number of a group.

    :raises guestagent.errors.ConfigError: there is none of that name.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise errors.ConfigError(
            f'group {name!r}: there is no such group on this machine'
        ) from None
