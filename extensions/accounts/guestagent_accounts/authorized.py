# SPDX-License-Identifier: Apache-2.0
"""Reads and replaces ``~/.ssh/authorized_keys``, which its user may try to misuse.

A user owns the folder and can put there whatever they like, at any time: symbolic
links, pipes, hard links to other people's files.  So nothing is reached by a path: each
step is taken from the descriptor of the folder before, follows no link, and is taken
with no more rights than the user has.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
import stat
from collections.abc import Iterator, Sequence

from guestagent import errors
from guestagent_accounts import identity

#: A file of keys that is larger is none.
SIZE_MAX = 1024 * 1024

_FOLDER, _FILE = '.ssh', 'authorized_keys'
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_READ = _OPEN | os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_CREATE = _OPEN | os.O_WRONLY | os.O_CREAT | os.O_EXCL


def path(account: pwd.struct_passwd) -> str:
    """Return where a user's keys are."""
    return os.path.join(account.pw_dir, _FOLDER, _FILE)


@contextlib.contextmanager
def opened(account: pwd.struct_passwd, make: bool = False) -> Iterator[Keys]:
    """Give the keys of a user, with that user's rights.

    :param make: whether the folder is made if it is not there.
    :raises guestagent.errors.GuestError: the files are not as they must be, or the
        user may not touch them; within the ``with`` block, too.
    """
    with identity.assumed(account.pw_uid, account.pw_gid, account.pw_name):
        home = _open_home(account)
        try:
            folder = _open_folder(home, account, make)
        finally:
            os.close(home)
        try:
            yield Keys(account, folder)
        finally:
            if folder is not None:
                os.close(folder)


class Keys:
    """The lines of a user's file.

    :param folder: a descriptor of ``.ssh``; ``None``: there is none.
    :ivar exists: whether there is a file; after :meth:`read`.
    """

    def __init__(self, account: pwd.struct_passwd, folder: int | None) -> None:
        self._account = account
        self._folder = folder
        self.exists = False

    def read(self) -> list[str]:
        """Return the lines as they are, undecodable bytes as surrogates.

        :raises guestagent.errors.GuestError: it cannot be read, or is no file of keys.
        """
        if self._folder is None:
            return []
        name = path(self._account)
        try:
            file = os.open(_FILE, _READ, dir_fd=self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _explained(name, error) from None
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise errors.GuestError(f'{name} is not a regular file')
            _check_owner(name, found, self._account)
            with open(file, 'rb', closefd=False) as stream:
                data = stream.read(SIZE_MAX + 1)
        except OSError as error:
            raise _explained(name, error) from None
        finally:
            os.close(file)
        if len(data) > SIZE_MAX:
            raise errors.GuestError(f'{name} is larger than {SIZE_MAX} bytes')
        self.exists = True
        lines = data.decode('utf-8', 'surrogateescape').split('\n')
        return lines[:-1] if lines[-1] == '' else lines

    def write(self, lines: Sequence[str]) -> None:
        """Replace the file by these lines, at once and for good.

        :raises guestagent.errors.GuestError: it cannot be written; nothing changed.
        """
        if self._folder is None:
            raise errors.GuestError(
                f'the folder of {path(self._account)} has just gone'
            )
        data = ''.join(f'{line}\n' for line in lines).encode('utf-8', 'surrogateescape')
        name = path(self._account)
        if len(data) > SIZE_MAX:
            raise errors.GuestError(f'{name} would be larger than {SIZE_MAX} bytes')
        temporary = f'.{_FILE}.{secrets.token_hex(8)}'
        try:
            os.fchmod(self._folder, 0o700)
            try:
                _store(self._folder, temporary, data)
                os.rename(
                    temporary, _FILE, src_dir_fd=self._folder, dst_dir_fd=self._folder
                )
            except OSError:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=self._folder)
                raise
            os.fsync(self._folder)
        except OSError as error:
            raise _explained(name, error) from None


def _open_home(account: pwd.struct_passwd) -> int:
    """Return a descriptor of a user's home; the way there is root's to choose."""
    if not account.pw_dir.startswith('/'):
        raise errors.GuestError(f'user {account.pw_name!r} has no home folder')
    try:
        return os.open(account.pw_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _explained(account.pw_dir, error) from None


def _open_folder(home: int, account: pwd.struct_passwd, make: bool) -> int | None:
    name = os.path.join(account.pw_dir, _FOLDER)
    flags = _OPEN | os.O_RDONLY | os.O_DIRECTORY
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(_FOLDER, 0o700, dir_fd=home)
        folder = os.open(_FOLDER, flags, dir_fd=home)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _explained(name, error) from None
    try:
        _check_owner(name, os.fstat(folder), account)
    except errors.GuestError:
        os.close(folder)
        raise
    return folder


def _store(folder: int, name: str, data: bytes) -> None:
    file = os.open(name, _CREATE, 0o600, dir_fd=folder)
    with open(file, 'wb') as stream:
        os.fchmod(file, 0o600)
        stream.write(data)
        stream.flush()
        os.fsync(file)


def _check_owner(name: str, found: os.stat_result, account: pwd.struct_passwd) -> None:
    if found.st_uid not in (account.pw_uid, 0):
        raise errors.GuestError(
            f'{name} belongs to neither {account.pw_name!r} nor root'
        )


def _explained(name: str, error: OSError) -> errors.GuestError:
    """Return the error that says what the kernel refused."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        # What the kernel says of a link that is not followed.
        name = f'{name} (symbolic links are not followed)'
    return errors.GuestError(f'{name}: {error.strerror}')
