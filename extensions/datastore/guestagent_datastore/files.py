# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, and folders with their owners."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil

from guestagent import errors


def write(path: pathlib.Path, text: str, mode: int = 0o644, user: str = '') -> None:
    """Write a file as a whole: who reads it sees the old one or the new one.

    :param user: its owner, as root; ``''``: the agent's.
    :raises guestagent.errors.StorageError: it cannot be written.
    """
    fresh = path.with_name(f'.{path.name}.new')
    try:
        fresh.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(fresh, flags, mode), 'w', encoding='utf-8') as file:
            os.fchmod(file.fileno(), mode)
            if user and os.geteuid() == 0:
                shutil.chown(fresh, user, _group(user))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise errors.StorageError(f'{path}: {error.strerror or error}') from None


def read(path: pathlib.Path) -> str:
    """Return the text of a file; ``''``: there is none."""
    try:
        return path.read_text(encoding='utf-8')
    except FileNotFoundError:
        return ''


def tail(path: pathlib.Path, size: int = 8192) -> list[str]:
    """Return the last lines of a file; none if there is no such file."""
    try:
        with open(path, 'rb') as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode(errors='replace').splitlines()
    except OSError:
        return []


def make_folder(path: pathlib.Path, user: str, mode: int = 0o755) -> None:
    """Make a folder with this owner; ``''``: the agent's.

    :raises guestagent.errors.GuestError: it cannot be made, or there is no such user.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        if user and os.geteuid() == 0:
            shutil.chown(path, user, _group(user))
    except LookupError:
        raise errors.GuestError(
            f'there is no user {user!r}: is the server installed?'
        ) from None
    except OSError as error:
        raise errors.StorageError(f'{path}: {error.strerror or error}') from None


def empty(path: pathlib.Path) -> None:
    """Delete all that is in a folder.

    :raises guestagent.errors.StorageError: it cannot be deleted.
    """
    try:
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise errors.StorageError(f'{path}: {error.strerror or error}') from None


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Have in one folder what is in another, and nothing else; both have files only.

    :raises guestagent.errors.StorageError: they cannot be written.
    """
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        for path in target.iterdir():
            if not (source / path.name).exists():
                path.unlink()
        for path in source.iterdir():
            fresh = target / f'.{path.name}.new'
            shutil.copy2(path, fresh)
            fresh.replace(target / path.name)
    except OSError as error:
        raise errors.StorageError(f'{target}: {error.strerror or error}') from None


def size(folder: pathlib.Path) -> int:
    """Return how many bytes are in a folder, about: files may come and go meanwhile."""
    found = 0
    for path in folder.rglob('*'):
        with contextlib.suppress(OSError):
            found += path.stat().st_size
    return found


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
