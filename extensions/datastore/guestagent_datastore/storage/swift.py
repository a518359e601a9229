# SPDX-License-Identifier: Apache-2.0
"""The storage ``swift``: OpenStack's object storage.

An object is laid out as Trove's own: segments ``<name up to the first
dot>_<00000000 ...>`` in the same container, a static large object as their manifest,
and what is known of it as ``X-Object-Meta-...`` headers of that.  The checksum is
Swift's own of such an object: MD5 over its segments' MD5, which Trove compares.
Objects that Trove's own agent wrote can be read, those of one segment too.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from guestagent import errors
from guestagent_datastore.storage import base, connection

META = 'x-object-meta-'
#: How many segments an object has at most, where Swift does not say.
SEGMENTS_MAX = 1000


class _Segment(NamedTuple):
    path: str
    checksum: str
    size: int


class Swift(base.Storage):
    """Keeps objects in a container of the account ``url``, with the user's token."""

    def __init__(self, target: base.Target) -> None:
        super().__init__(target)
        if not target.token:
            raise errors.InvalidArgument('storage: swift needs a token of the user')
        self._container = base.check_container(target.container)
        self._connection = connection.Connection(target)

    def create(self, name: str) -> base.Writer:
        """See :meth:`base.Storage.create`."""
        base.check_name(name)
        # It does nothing to one that is there.
        self._connection.request('PUT', f'/{self._container}')
        if self._head(f'/{self._container}/{name}') is not None:
            raise errors.StorageError(f'{self._url(name)}: it is there already')
        return _Writer(
            self._connection,
            self._container,
            name,
            self.target,
            _segments_max(self._connection.info()),
        )

    def describe(self, location: str, checksum: str = '') -> base.Stored:
        """See :meth:`base.Storage.describe`."""
        path = _path(location)
        found = self._head(path)
        if found is None:
            raise errors.StorageError(f'{location}: there is no such object')
        etag = found['etag'].strip('"')
        base.check_sum(etag, checksum, location)
        metadata = {
            name.removeprefix(META).replace('-', '_'): value
            for name, value in found.items()
            if name.startswith(META)
        }
        return base.Stored(location, etag, int(found['content-length']), metadata)

    def read(self, stored: base.Stored) -> Iterator[bytes]:
        """See :meth:`base.Storage.read`.

        Each segment is compared with the manifest, and this with the checksum.
        """
        path = _path(stored.location)
        segments = self._segments(path) or [
            _Segment(path, stored.checksum, stored.size)
        ]
        sums = _Sums(stored, segments)
        for chunk in self._connection.read(path):
            sums.update(chunk)
            yield chunk
        sums.finish()

    def delete(self, location: str) -> None:
        """See :meth:`base.Storage.delete`."""
        path = _path(location)
        found = self._head(path)
        if found is None:
            return
        # Without Swift's own bulk delete, whose errors stand in a body of its own.
        for segment in self._segments(path):
            self._delete(segment.path)
        self._delete(path)

    def sweep(self, name: str) -> int:
        """See :meth:`base.Storage.sweep`."""
        if self._head(f'/{self._container}/{base.check_name(name)}') is not None:
            return 0
        left = self.names(_base(name) + '_')
        for each in left:
            self.remove(each)
        return len(left)

    def put(
        self, name: str, data: bytes, metadata: Mapping[str, str], keep: int = 0
    ) -> None:
        """See :meth:`base.Storage.put`."""
        path = f'/{self._container}/{base.check_name(name)}'
        headers = _headers(metadata)
        if keep:
            headers['X-Delete-After'] = str(keep)
        try:
            self._connection.request('PUT', path, headers=headers, body=data)
        except connection.Failed as error:
            if error.status != 404:
                raise
            self._connection.request('PUT', f'/{self._container}')
            self._connection.request('PUT', path, headers=headers, body=data)

    def get(self, name: str) -> bytes | None:
        """See :meth:`base.Storage.get`."""
        path = f'/{self._container}/{base.check_name(name)}'
        try:
            return self._connection.request('GET', path)[1]
        except connection.Failed as error:
            if error.status != 404:
                raise
            return None

    def names(self, prefix: str) -> list[str]:
        """See :meth:`base.Storage.names`."""
        found: list[str] = []
        while True:
            query = urllib.parse.urlencode(
                {
                    'prefix': prefix,
                    'marker': found[-1] if found else '',
                    'format': 'json',
                }
            )
            try:
                body = self._connection.request('GET', f'/{self._container}', query)[1]
            except connection.Failed as error:
                if error.status != 404:
                    raise
                return []
            page = [each['name'] for each in json.loads(body)]
            if not page:
                return found
            found += page

    def remove(self, name: str) -> None:
        """See :meth:`base.Storage.remove`."""
        self._delete(f'/{self._container}/{name}')

    def close(self) -> None:
        """See :meth:`base.Storage.close`."""
        self._connection.close()

    def _url(self, name: str) -> str:
        return f'{self.target.url.rstrip("/")}/{self._container}/{name}'

    def _head(self, path: str) -> Mapping[str, str] | None:
        try:
            return self._connection.request('HEAD', path)[0]
        except connection.Failed as error:
            if error.status != 404:
                raise
            return None

    def _delete(self, path: str) -> None:
        try:
            self._connection.request('DELETE', path)
        except connection.Failed as error:
            if error.status != 404:
                raise

    def _segments(self, path: str) -> list[_Segment]:
        """Return the segments of a large object; of another one none."""
        found = self._head(path)
        if found is None or found.get('x-static-large-object', '').lower() != 'true':
            return []
        body = self._connection.request('GET', path, 'multipart-manifest=get')[1]
        return [
            _Segment(each['name'], each['hash'], each['bytes'])
            for each in json.loads(body)
        ]


class _Writer(base.Writer):
    """Segments, one after the other, and at the end their manifest."""

    def __init__(
        self,
        line: connection.Connection,
        container: str,
        name: str,
        target: base.Target,
        segments_max: int,
    ) -> None:
        self._line = line
        self._path = f'/{container}/{name}'
        self._base = f'/{container}/{_base(name)}'
        self._location = target.url.rstrip('/') + self._path
        self._limit = target.segment_size
        self._segments_max = segments_max
        self._done: list[_Segment] = []
        self._begun: list[str] = []
        self._upload: connection.Upload | None = None
        self._sum = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._upload is None:
                self._begin()
            part = bytes(rest[: self._limit - self._size])
            assert self._upload is not None
            self._upload.write(part)
            self._sum.update(part)
            self._size += len(part)
            rest = rest[len(part) :]
            if self._size == self._limit:
                self._end()

    def finish(self, metadata: Mapping[str, str]) -> base.Stored:
        if self._upload is not None:
            self._end()
        if not self._done:
            raise errors.StorageError(f'{self._location}: there is nothing to store')
        manifest = [
            {'path': each.path, 'etag': each.checksum, 'size_bytes': each.size}
            for each in self._done
        ]
        self._begun.append(self._path)
        self._line.request(
            'PUT',
            self._path,
            'multipart-manifest=put',
            _headers(metadata),
            json.dumps(manifest).encode(),
        )
        found = self._line.request('HEAD', self._path)[0]['etag'].strip('"')
        whole = _sum_of(self._done)
        base.check_sum(found, whole, self._location)
        self._begun.clear()
        size = sum(each.size for each in self._done)
        return base.Stored(self._location, whole, size, dict(metadata))

    def abort(self) -> None:
        # What was not ended is not stored.
        self._line.close()
        self._upload = None
        while self._begun:
            try:
                self._line.request('DELETE', self._begun[-1])
            except connection.Failed as error:
                if error.status != 404:
                    raise
            self._begun.pop()

    def _begin(self) -> None:
        if len(self._done) >= self._segments_max:
            raise errors.StorageError(
                f'{self._location}: Swift takes {self._segments_max} segments, and '
                f'there are more: set a larger [datastore] backup_segment_size'
            )
        path = f'{self._base}_{len(self._done):08d}'
        self._begun.append(path)
        self._upload = self._line.upload(path)
        self._sum = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def _end(self) -> None:
        assert self._upload is not None
        found = self._upload.finish()['etag'].strip('"')
        self._upload = None
        path = self._begun[-1]
        base.check_sum(found, self._sum.hexdigest(), path)
        self._done.append(_Segment(path, found, self._size))


class _Sums:
    """Compares what comes with the segments that a manifest names; no I/O."""

    def __init__(self, stored: base.Stored, segments: Sequence[_Segment]) -> None:
        self._location = stored.location
        self._segments = iter(segments)
        if len(segments) > 1 or segments[0].path != _path(stored.location):
            base.check_sum(_sum_of(segments), stored.checksum, stored.location)
        self._next()

    def _next(self) -> None:
        self._sum = hashlib.md5(usedforsecurity=False)
        self._segment = next(self._segments, None)
        self._left = self._segment.size if self._segment else 0

    def update(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            if self._segment is None:
                raise errors.StorageError(f'{self._location}: it is too long')
            part = rest[: self._left]
            self._sum.update(part)
            self._left -= len(part)
            rest = rest[len(part) :]
            if not self._left:
                self._compare(self._segment)

    def finish(self) -> None:
        if self._segment is not None and self._segment.size == 0:
            self._compare(self._segment)
        if self._segment is not None:
            raise errors.StorageError(
                f'{self._location}: it ended in the middle of {self._segment.path}'
            )

    def _compare(self, segment: _Segment) -> None:
        base.check_sum(self._sum.hexdigest(), segment.checksum, segment.path)
        self._next()


def _sum_of(segments: Sequence[_Segment]) -> str:
    """Return the checksum that Swift gives to a large object."""
    whole = hashlib.md5(usedforsecurity=False)
    for each in segments:
        whole.update(each.checksum.encode())
    return whole.hexdigest()


def _segments_max(info: bytes) -> int:
    try:
        return int(json.loads(info)['slo']['max_manifest_segments'])
    except (ValueError, KeyError, TypeError):
        return SEGMENTS_MAX


def _base(name: str) -> str:
    return name.split('.')[0]


def _path(location: str) -> str:
    """Return ``/container/name`` of a location, wherever that is said to be."""
    parts = urllib.parse.unquote(urllib.parse.urlsplit(location).path).rsplit('/', 2)
    if len(parts) < 3:
        raise errors.InvalidArgument(f'location: {location!r} is no URL of an object')
    return f'/{base.check_container(parts[1])}/{base.check_name(parts[2])}'


def _headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as headers.

    :raises guestagent.errors.InvalidArgument: it cannot be such.
    """
    headers = {}
    for name, value in metadata.items():
        if not (value.isascii() and value.isprintable() and len(value) <= 256):
            raise errors.InvalidArgument(
                f'metadata: {name}: it cannot be a header of Swift'
            )
        headers[META + name.replace('_', '-')] = value
    return headers
