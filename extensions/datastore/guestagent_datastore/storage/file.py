# SPDX-License-Identifier: Apache-2.0
"""The storage ``file``: a folder, such as a mounted share.

An object is a file, and what is known of it a second one, ``<name>.json``: ``{"size":
<bytes>, "sha256": <hex>, "metadata": {...}}``.  An object is there when both are: the
second one is written first, and a name is given by a rename, when all is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

from guestagent import errors
from guestagent_datastore.storage import base

#: What is being written has a name with this at its end.
PART = '.part'
DESCRIPTION = '.json'
#: How much is written before the disk is told to begin, in bytes.
FLUSH = 32 * 1024**2


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what the system says into an error of a storage."""
    try:
        yield
    except OSError as error:
        kind = (
            errors.DiskFull
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else errors.StorageError
        )
        raise kind(f'{what}: {error.strerror or error}') from None


class File(base.Storage):
    """Keeps objects in the folder ``<url>/<container>``."""

    def __init__(self, target: base.Target) -> None:
        super().__init__(target)
        root = pathlib.Path(target.url)
        if not root.is_absolute():
            raise errors.InvalidArgument(
                f'storage: {target.url!r} is not the absolute path of a folder'
            )
        # Not made here: a share that is not mounted must not fill the disk below it.
        if not root.is_dir():
            raise errors.StorageError(f'{root}: there is no such folder')
        self._folder = root / base.check_container(target.container)

    def create(self, name: str) -> base.Writer:
        """See :meth:`base.Storage.create`."""
        path = self._path(name)
        with _explained(f'{path}'):
            if path.exists():
                raise errors.StorageError(f'{path}: it is there already')
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _Writer(path)

    def describe(self, location: str, checksum: str = '') -> base.Stored:
        """See :meth:`base.Storage.describe`."""
        path = self._located(location)
        with _explained(f'{path}'):
            size = path.stat().st_size
            text = _beside(path, DESCRIPTION).read_bytes()
        try:
            known = json.loads(text)
            stored = base.Stored(
                path.as_uri(), known['sha256'], known['size'], known['metadata']
            )
        except (ValueError, KeyError, TypeError):
            raise errors.StorageError(f'{path}{DESCRIPTION}: it is damaged') from None
        base.check_sum(stored.checksum, checksum, str(path))
        if size != stored.size:
            raise errors.StorageError(
                f'{path}: it has {size} bytes, not {stored.size}: it is damaged'
            )
        return stored

    def read(self, stored: base.Stored) -> Iterator[bytes]:
        """See :meth:`base.Storage.read`."""
        path = self._located(stored.location)
        found = hashlib.sha256()
        with _explained(f'{path}'), path.open('rb', buffering=0) as file:
            while chunk := file.read(base.CHUNK):
                found.update(chunk)
                yield chunk
        base.check_sum(found.hexdigest(), stored.checksum, str(path))

    def delete(self, location: str) -> None:
        """See :meth:`base.Storage.delete`."""
        path = self._located(location)
        with _explained(f'{path}'):
            path.unlink(missing_ok=True)
            _beside(path, DESCRIPTION).unlink(missing_ok=True)

    def sweep(self, name: str) -> int:
        """See :meth:`base.Storage.sweep`."""
        path = self._path(name)
        doomed = [_beside(path, PART), _beside(path, DESCRIPTION + PART)]
        with _explained(f'{path}'):
            if not path.exists():
                doomed.append(_beside(path, DESCRIPTION))
            found = [each for each in doomed if each.exists()]
            for each in found:
                each.unlink()
        return len(found)

    def put(
        self, name: str, data: bytes, metadata: Mapping[str, str], keep: int = 0
    ) -> None:
        """See :meth:`base.Storage.put`; nothing is removed by itself."""
        path = self._path(name)
        with _explained(f'{path}'):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, data)

    def get(self, name: str) -> bytes | None:
        """See :meth:`base.Storage.get`."""
        path = self._path(name)
        with _explained(f'{path}'):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def names(self, prefix: str) -> list[str]:
        """See :meth:`base.Storage.names`."""
        with _explained(f'{self._folder}'):
            found = [
                str(path.relative_to(self._folder))
                for path in self._folder.rglob('*')
                if path.is_file() and path.suffix != PART
            ]
        return sorted(name for name in found if name.startswith(prefix))

    def remove(self, name: str) -> None:
        """See :meth:`base.Storage.remove`."""
        path = self._path(name)
        with _explained(f'{path}'):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Do nothing: no file is kept open here."""

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / base.check_name(name)

    def _located(self, location: str) -> pathlib.Path:
        path = urllib.parse.unquote(urllib.parse.urlsplit(location).path)
        parts = path.rsplit('/', 2)
        if not location.startswith('file:///') or len(parts) < 3:
            raise errors.InvalidArgument(f'location: {location!r} is no file: URL')
        container, name = parts[1:]
        return (
            self._folder.parent
            / base.check_container(container)
            / (base.check_container(name))
        )


class _Flush(threading.Thread):
    """Brings to the disk what was written, while more is.

    So the end need not wait for all of it, and what nobody reads again soon does not
    drive the server's own data out of memory.
    """

    def __init__(self, file: int) -> None:
        super().__init__(daemon=True)
        self._file = file
        self._error: OSError | None = None
        self.start()

    def run(self) -> None:
        """Do it; the kernel tells of an error only once."""
        try:
            os.fdatasync(self._file)
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            self._error = error

    def finish(self) -> None:
        """Wait for it.

        :raises OSError: something is not on the disk.
        """
        self.join()
        if self._error is not None:
            raise self._error


class _Writer(base.Writer):
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._part = _beside(path, PART)
        self._sum = hashlib.sha256()
        self._size = 0
        self._dirty = 0
        self._flush: _Flush | None = None
        # What an interrupted one left goes; a second one at the same time is refused
        # by the caller.
        self._file = open(self._part, 'wb', buffering=0, opener=_private)  # noqa: SIM115

    def write(self, data: bytes) -> None:
        self._sum.update(data)
        rest = memoryview(data)
        with _explained(f'{self._part}'):
            while rest:
                rest = rest[self._file.write(rest) :]
            self._size += len(data)
            self._dirty += len(data)
            if self._dirty >= FLUSH:
                self._finish_flush()
                self._flush = _Flush(self._file.fileno())
                self._dirty = 0

    def _finish_flush(self) -> None:
        flush, self._flush = self._flush, None
        if flush is not None:
            flush.finish()

    def finish(self, metadata: Mapping[str, str]) -> base.Stored:
        checksum = self._sum.hexdigest()
        kept = dict(metadata)
        known = {'size': self._size, 'sha256': checksum, 'metadata': kept}
        with _explained(f'{self._path}'):
            self._finish_flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _write(_beside(self._path, DESCRIPTION), json.dumps(known).encode())
            self._part.rename(self._path)
            _sync_folder(self._path.parent)
        return base.Stored(self._path.as_uri(), checksum, self._size, kept)

    def abort(self) -> None:
        with _explained(f'{self._part}'):
            if self._flush is not None:
                self._flush.join()
            self._file.close()
            if not self._part.exists():
                return
            self._part.unlink()
            for end in (DESCRIPTION, DESCRIPTION + PART):
                _beside(self._path, end).unlink(missing_ok=True)


def _beside(path: pathlib.Path, end: str) -> pathlib.Path:
    return path.with_name(path.name + end)


def _write(path: pathlib.Path, data: bytes) -> None:
    """Write a small file that is there with all of it or not at all."""
    part = _beside(path, PART)
    try:
        with open(part, 'wb', opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(path: pathlib.Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
