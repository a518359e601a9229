# SPDX-License-Identifier: Apache-2.0
"""One file carried to a guest or from it, in parts, with a checksum.

What was broken off goes on where it was: of a pull the parts that came are in a file
beside the one to be, under a name of its own for each version of the guest's file; of a
push they are with the guest.
"""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from guestagent import errors
from guestagent.ctl import flow

#: Bytes of a part: smaller ones are slower, larger ones take the guest's memory.
PART = 512 * 1024

#: So many bytes a second a guest reads and sums, and writes to its disk, at least.
_SUMMED = 10e6

#: So often it is begun anew though nothing came through since the last time.
_FRUITLESS = 3

#: The names of files that are not whole yet begin so.
PREFIX = '.guestctl-'

#: Hears how many more bytes have been carried.
Moved = Callable[[int], None]


class Carrier:
    """Carries files between here and a guest.

    :param moved: hears of bytes as they are carried.
    """

    def __init__(self, guest: flow.Guest, threads: flow.Flow, moved: Moved) -> None:
        self.guest = guest
        self.moved = moved
        self._threads = threads

    def pull(self, path: str, target: str) -> str:
        """Fetch a file of the guest, and return its checksum.

        :raises guestagent.ctl.flow.LocalError: it cannot be written here.
        :raises guestagent.errors.GuestAgentError: it cannot be had from the guest.
        """
        begun = self.guest.call('pull_begin', path=path)
        name = (self.guest.instance, path, os.path.basename(target))
        try:
            with _Part(os.path.dirname(target), name, begun['version']) as part:
                # What came before, if something did, is there already.
                self.moved(part.size)
                ended = self._pull(begun, part)
                if ended['sha256'] != part.sha256:
                    part.remove()
                    raise errors.GuestError(f'{path!r} has come with mistakes in it')
                part.finish(target, begun)
        except OSError as error:
            raise flow.local(target, error) from None
        return part.sha256

    def push(self, source: str, path: str, **settings: Any) -> str:
        """Bring a file to the guest, and return its checksum.

        :param settings: more arguments of ``file.push_begin``.
        :raises guestagent.ctl.flow.LocalError: it cannot be read here.
        :raises guestagent.errors.GuestAgentError: the guest does not take it.
        """
        try:
            with open(source, 'rb', buffering=0) as file:
                found = os.fstat(file.fileno())
                settings = {
                    'permissions': found.st_mode & 0o777,
                    'modified': found.st_mtime_ns,
                    'key': f'{found.st_dev}-{found.st_ino}-{found.st_mtime_ns}',
                    **settings,
                }
                return self._push(file.fileno(), path, found.st_size, settings)
        except OSError as error:
            raise flow.local(source, error) from None

    def at_once(self, jobs: Iterable[Callable[[], int]]) -> None:
        """Carry small files, several at a time.

        :param jobs: made of :meth:`get` and :meth:`put`.
        :raises: as :meth:`pull` and :meth:`push`.
        """
        for count in self._threads.run(jobs):
            self.moved(count)

    def get(self, path: str, target: str) -> int:
        """Fetch a file of one part, on any thread; return its size.

        :raises: as :meth:`pull`.
        """
        found = self.guest.call('get', path=path, count=PART)
        data = binascii.a2b_base64(found['data'])
        temporary = os.path.join(
            os.path.dirname(target), f'{PREFIX}{os.urandom(8).hex()}.part'
        )
        try:
            with contextlib.ExitStack() as undo, open(temporary, 'xb') as file:
                undo.callback(os.unlink, temporary)
                file.write(data)
                file.flush()  # before its time is set
                _set(temporary, found)
                os.replace(temporary, target)
                undo.pop_all()
        except OSError as error:
            raise flow.local(target, error) from None
        return len(data)

    def put(self, source: str, path: str, **settings: Any) -> int:
        """Bring a file of one part to the guest, on any thread; return its size.

        :raises: as :meth:`push`.
        """
        try:
            with open(source, 'rb') as file:
                found = os.fstat(file.fileno())
                data = file.read()
        except OSError as error:
            raise flow.local(source, error) from None
        self.guest.call(
            'put',
            path=path,
            data=binascii.b2a_base64(data, newline=False).decode('ascii'),
            permissions=found.st_mode & 0o777,
            modified=found.st_mtime_ns,
            **settings,
        )
        return len(data)

    def _pull(self, begun: dict[str, Any], part: _Part) -> dict[str, Any]:
        """Fetch what is missing; return what the guest says at the end."""
        path, fruitless = begun['path'], 0
        while True:
            before = part.size
            try:
                self._pull_parts(begun, part)
                ended: dict[str, Any] = self.guest.call(
                    'pull_end', more=begun['size'] / _SUMMED, pull=begun['pull']
                )
                return ended
            except errors.InvalidArgument:
                # If the agent was started anew, its pulls are gone.
                fruitless = fruitless + 1 if part.size == before else 0
                if fruitless == _FRUITLESS:
                    raise
            again = self.guest.call('pull_begin', path=path)
            if again['version'] != begun['version']:
                raise errors.GuestError(f'{path!r} was changed while it was pulled')
            begun = again

    def _pull_parts(self, begun: dict[str, Any], part: _Part) -> None:
        jobs = (
            functools.partial(
                self.guest.call,
                'pull_part',
                pull=begun['pull'],
                offset=offset,
                count=min(PART, begun['size'] - offset),
            )
            for offset in range(part.size, begun['size'], PART)
        )
        for answer in self._threads.run(jobs):
            data = binascii.a2b_base64(answer['data'])
            if len(data) != min(PART, begun['size'] - part.size):
                raise errors.GuestError(
                    f'{begun["path"]!r} was changed while it was pulled'
                )
            part.add(data)
            self.moved(len(data))

    def _push(
        self, descriptor: int, path: str, size: int, settings: dict[str, Any]
    ) -> str:
        fruitless = 0
        while True:
            begun = self.guest.call('push_begin', path=path, size=size, **settings)
            made, carried = hashlib.sha256(), 0
            try:
                jobs = self._push_parts(descriptor, begun, made)
                for count in self._threads.run(jobs):
                    carried += count
                    self.moved(count)
                if os.fstat(descriptor).st_mtime_ns != settings['modified']:
                    raise errors.GuestError('it was changed here while it was pushed')
                digest = made.hexdigest()
                self.guest.call(
                    'push_end', more=size / _SUMMED, push=begun['push'], sha256=digest
                )
                return digest
            except errors.GuestError:
                # The disk is full, perhaps: it would stay so.
                self.guest.call('push_abort', push=begun['push'])
                raise
            except errors.InvalidArgument:
                # If the agent was started anew, its pushes are gone.
                fruitless = 0 if carried else fruitless + 1
                again = self.guest.call('push_begin', path=path, size=size, **settings)
                if again['push'] == begun['push'] or fruitless == _FRUITLESS:
                    self.guest.call('push_abort', push=again['push'])
                    raise
                self.moved(-carried)

    def _push_parts(
        self, descriptor: int, begun: dict[str, Any], made: Any
    ) -> Iterator[Callable[[], int]]:
        """Yield what sends each part that the guest does not have."""
        for offset in range(0, begun['size'], PART):
            data = os.pread(descriptor, min(PART, begun['size'] - offset), offset)
            made.update(data)
            end = offset + len(data)
            if any(first <= offset and end <= last for first, last in begun['have']):
                self.moved(len(data))
            else:
                yield functools.partial(self._send, begun['push'], offset, data)

    def _send(self, push: int, offset: int, data: bytes) -> int:
        text = binascii.b2a_base64(data, newline=False).decode('ascii')
        self.guest.call('push_part', push=push, offset=offset, data=text)
        return len(data)


class _Part:
    """What has come of a file, beside where it will be; a context manager.

    :param name: what tells it from what is pulled into the same folder.
    :ivar size: how much has come.
    :raises OSError: it cannot be written.
    """

    def __init__(self, folder: str, name: tuple[str, ...], version: str) -> None:
        own = _short('\0'.join(name))
        self._path = os.path.join(folder, f'{PREFIX}{own}-{_short(version)}.part')
        self._remove_others(folder or '.', f'{PREFIX}{own}-')
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        self._sum = hashlib.sha256()
        self.size = 0
        try:
            # Another guestctl that does the same would write into it, too.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while data := os.read(self._file, PART):
                self._sum.update(data)
                self.size += len(data)
        except OSError:
            os.close(self._file)
            raise

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._file)

    @property
    def sha256(self) -> str:
        """The checksum of what has come."""
        return self._sum.hexdigest()

    def add(self, data: bytes) -> None:
        """Take what follows.

        :raises OSError: it cannot be written.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._sum.update(data)
        self.size += len(data)

    def finish(self, target: str, found: Mapping[str, Any]) -> None:
        """Let it be the file that it was to be.

        :param found: what the guest says of it.
        :raises OSError: it cannot be.
        """
        _set(self._path, found)
        os.replace(self._path, target)

    def remove(self) -> None:
        """Forget what has come."""
        os.unlink(self._path)

    def _remove_others(self, folder: str, prefix: str) -> None:
        """Remove what has come of other versions of the file."""
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name.startswith(prefix) and name != os.path.basename(self._path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


def _set(path: str, found: Mapping[str, Any]) -> None:
    """Set permissions and time as the guest has them; nothing that gives rights."""
    os.chmod(path, int(found['permissions']) & 0o777)
    os.utime(path, ns=(int(found['modified']), int(found['modified'])))


def _short(text: str) -> str:
    data = text.encode('utf-8', 'surrogatepass')
    return hashlib.sha256(data).hexdigest()[:16]
