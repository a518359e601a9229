# SPDX-License-Identifier: Apache-2.0
"""Log files in a storage: what is new goes there as one more part.

As Trove lays them out: parts ``<prefix>log-<time>``, whose names are in the order of
their times, and beside them ``<prefix without its last />_metafile``, a JSON object
that says how much of the file is published (``log_size``) and how its first line was
(``log_header_digest``, MD5), by which a file that was rotated is known.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import IO, Any

from guestagent import errors
from guestagent_datastore.storage import base

#: The longest first line that is looked at, in bytes.
HEADER_MAX = 64 * 1024


class _Published:
    """What of a log is in the storage.

    :ivar size: in bytes, from the beginning of the file.
    """

    def __init__(self, storage: base.Storage, log: Mapping[str, Any]) -> None:
        self._storage = storage
        self._log = log
        self.prefix = log['prefix'].rstrip('/') + '/'
        self.metafile = self.prefix.rstrip('/') + '_metafile'
        self.size = 0
        self.header = ''

    def read(self) -> None:
        """Learn how much it is.

        :raises guestagent.errors.StorageError: what says so is damaged.
        """
        text = self._storage.get(self.metafile)
        if text is None:
            return
        try:
            known = json.loads(text)
            self.size = int(known['log_size'])
            self.header = str(known['log_header_digest'])
        except (ValueError, KeyError, TypeError):
            raise errors.StorageError(
                f'{self.metafile}: it is damaged; discard the log'
            ) from None

    def add(self, data: bytes, header: str, keep: int) -> None:
        """Store the next part, then that it is there."""
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        self._storage.put(
            f'{self.prefix}log-{now.isoformat(timespec="microseconds")}',
            data,
            {'lines': str(data.count(b'\n') + (data[-1:] != b'\n'))},
            keep,
        )
        self.size += len(data)
        self.header = header
        known = {
            'log_name': self._log['name'],
            'log_type': self._log['kind'],
            'log_file': self._log['path'],
            'log_size': self.size,
            'log_header_digest': self.header,
        }
        self._storage.put(self.metafile, json.dumps(known).encode(), {}, keep)

    def discard(self) -> None:
        """Remove all of it."""
        for name in self._storage.names(self.prefix):
            self._storage.remove(name)
        self._storage.remove(self.metafile)
        self.size, self.header = 0, ''


def handle(storage: base.Storage, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Do what is asked with each log; return how each one is.

    :param request: ``action`` (``show``, ``publish``, ``discard``), ``logs`` (each
        ``{name, kind, path, prefix}``), ``limit`` (bytes of a part), ``keep``
        (seconds).
    :raises guestagent.errors.StorageError: the storage does not do it.
    """
    return [_handle_one(storage, request, log) for log in request['logs']]


def _handle_one(
    storage: base.Storage, request: Mapping[str, Any], log: Mapping[str, Any]
) -> dict[str, Any]:
    published = _Published(storage, log)
    if request['action'] == 'discard':
        published.discard()
    else:
        published.read()
    with _open(log['path']) as file:
        size = os.fstat(file.fileno()).st_size
        header = _header(file)
        rotated = published.size > 0 and (
            size < published.size or header != published.header
        )
        if request['action'] == 'publish':
            if rotated:
                published.discard()
                rotated = False
            file.seek(published.size)
            while data := _next_part(file, request['limit']):
                published.add(data, header, request['keep'])
            size = max(size, published.size)
    return {
        'name': log['name'],
        'size': size,
        'published': published.size,
        'pending': size if rotated else size - published.size,
        'rotated': rotated,
        'container': storage.target.container,
        'prefix': published.prefix,
        'metafile': published.metafile,
    }


def _next_part(file: IO[bytes], limit: int) -> bytes:
    """Read on, to the end of the last line that fits."""
    data = file.read(limit)
    end = data.rfind(b'\n') + 1
    if len(data) < limit or not end:
        return data
    file.seek(end - len(data), os.SEEK_CUR)
    return data[:end]


def _header(file: IO[bytes]) -> str:
    """Return what tells a file from another one of its name."""
    line = file.readline(HEADER_MAX)
    whole = line if line.endswith(b'\n') or len(line) == HEADER_MAX else b''
    return hashlib.md5(whole, usedforsecurity=False).hexdigest()


def _open(path: str) -> IO[bytes]:
    """Open a log; one that is not there is empty.

    The server's account may put anything into the folder of its logs, and whoever gets
    what is published must not be able to read the guest's other files.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return open(os.devnull, 'rb')
    except OSError as error:
        raise errors.GuestError(f'{path}: {error.strerror or error}') from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise errors.GuestError(f'{path}: it is no file')
    return open(fd, 'rb')
