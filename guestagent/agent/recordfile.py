# SPDX-License-Identifier: Apache-2.0
"""A file of records that survives a crash: what was synced is there afterwards.

A crash leaves a part of what was appended since the last sync.  What is cut off or
damaged at the end is dropped when the file is opened; damage in the middle (a disk that
lost what it had, or a later write that reached it before an earlier one) is passed over
up to the next whole frame, and both are reported.  The whole file is only ever replaced
by a new one that was synced before it got the name.

The format is that of :mod:`guestagent.agent.recordformat`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

from guestagent import errors
from guestagent.agent import disk as disks
from guestagent.agent import recordformat


@dataclasses.dataclass
class Replay:
    """What was in a file when it was opened.

    :ivar records: (offset, payload) of each, in their order.
    :ivar dropped: bytes cut off at the end: never synced, or lost.
    :ivar gaps: damaged places in the middle; they stay until the file is rewritten.
    :ivar skipped: bytes in them.
    :ivar set_aside: where a file whose header was damaged is now, else ``''``.
    """

    records: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    dropped: int = 0
    gaps: int = 0
    skipped: int = 0
    set_aside: str = ''

    def problem(self) -> str:
        """Return in a sentence what was lost or may be; ``''``: nothing."""
        if self.set_aside:
            return f'its header is damaged; it was kept as {self.set_aside}'
        found = []
        if self.gaps:
            found.append(f'{self.skipped} bytes in {self.gaps} places are damaged')
        if self.dropped:
            found.append(f'{self.dropped} bytes at the end were cut off')
        return ' and '.join(found)


class RecordFile:
    """One file, held by one process.

    Not safe for threads, except that :meth:`sync` may run on one thread while another
    appends or reads: it covers what was appended before it began.  All methods but
    :meth:`close` raise:

    :raises guestagent.errors.DiskFull: there is no room; what was to be appended is
        not, and the next attempt may do better.
    :raises guestagent.errors.StorageError: any other fault of the disk.  After one of
        :meth:`sync` nobody knows what the disk holds, so all but :meth:`rewrite` and
        :meth:`replace` are refused.
    """

    def __init__(
        self, path: str, kind: bytes, version: int, disk: disks.Disk | None = None
    ) -> None:
        self.path = path
        self._kind = kind
        self._version = version
        self._disk = disk or disks.Disk()
        self._lock = self._fd = -1
        self._header = recordformat.Header(kind, version, 0)
        self._end = self._reserved = 0
        self._staged: list[bytes] = []
        self._broken = False
        #: Another number when it was replaced, or closed: what was read before may
        #: stand elsewhere now.
        self.replaced = 0

    @property
    def size(self) -> int:
        """Bytes in use; what is reserved behind them does not count."""
        return self._end

    @property
    def room(self) -> int:
        """Bytes that can be appended even if the disk is full."""
        return self._reserved - self._end

    @property
    def held(self) -> bool:
        """Whether to make it smaller should wait."""
        return self._disk.held

    @property
    def broken(self) -> bool:
        """Whether it must be rewritten before anything can be appended."""
        return self._broken

    def open(self) -> Replay:
        """Lock, read and mend the file, or make it; its folder must be there.

        :raises guestagent.errors.StorageHeld: another process has it open.
        :raises guestagent.errors.StorageTooNew: a later version has written it.
        """
        try:
            self._lock = self._disk.lock(f'{self.path}.lock')
        except BlockingIOError as error:
            raise errors.StorageHeld(
                f'{self.path} is held by another process: is an agent with the same '
                f'folder running?'
            ) from error
        except OSError as error:
            raise disks.explain(error, self.path) from error
        try:
            return self._open()
        except OSError as error:
            self.close()
            raise disks.explain(error, self.path) from error
        except errors.StorageError:
            self.close()
            raise

    def append(self, payload: bytes) -> int:
        """Write a record behind the last one; return its offset.

        It is safe only when a :meth:`sync` that began later has returned.

        :raises ValueError: it is larger than recordformat.PAYLOAD_MAX bytes.
        """
        at = self.stage(payload)
        self.flush()
        return at

    def stage(self, payload: bytes) -> int:
        """Have a record written by the next :meth:`flush`; return its offset.

        :raises ValueError: it is larger than recordformat.PAYLOAD_MAX bytes.
        """
        self._refuse_broken()
        frame, at = self._header.frame(payload), self._end
        self._staged.append(frame)
        self._end += len(frame)
        return at

    def flush(self) -> None:
        """Write what was staged, all in one; when it raises, none of it is there."""
        data = b''.join(self._staged)
        self._staged.clear()
        at = self._end - len(data)
        try:
            self._disk.write(self._fd, data, at)
        except OSError as error:
            self._end = at
            self._withdraw(at)
            raise disks.explain(error, self.path) from error
        self._reserved = max(self._reserved, self._end)

    def reserve(self, size: int) -> None:
        """Have room on the disk for ``size`` bytes behind the last record."""
        self._refuse_broken()
        need = self._end + size - self._reserved
        if need <= 0:
            return
        try:
            self._disk.allocate(self._fd, self._reserved, need)
        except OSError as error:
            raise disks.explain(error, self.path) from error
        self._reserved += need

    def read(self, offset: int) -> bytes:
        """Return the payload of the record at an offset."""
        try:
            head = self._disk.read_at(self._fd, recordformat.FRAME_SIZE, offset)
            size = recordformat.payload_size(head)
            rest = self._disk.read_at(self._fd, size, offset + len(head))
        except OSError as error:
            raise disks.explain(error, self.path) from error
        payload = self._header.payload(head + rest, 0)
        if payload is None:
            raise errors.StorageError(f'{self.path}: the record at {offset} is damaged')
        return payload

    def sync(self) -> None:
        """Have the disk hold all records that were appended before."""
        self._refuse_broken()
        try:
            self._disk.sync(self._fd)
        except OSError as error:
            # The kernel forgets what it could not write: a second sync would lie.
            self._broken = True
            raise disks.explain(error, self.path) from error

    def rewrite(self, payloads: Iterable[bytes]) -> list[int]:
        """Put a file with these records in the place of this one; synced.

        :returns: their offsets.
        """
        replacement = self.replacement()
        try:
            offsets = [replacement.append(payload) for payload in payloads]
        except errors.StorageError:
            replacement.close()
            raise
        self.replace(replacement)
        return offsets

    def replacement(self, suffix: str = '.new') -> Replacement:
        """Begin a new file that :meth:`replace` puts in the place of this one.

        :param suffix: of its name until then; two at a time need two.
        """
        header = recordformat.Header(
            self._kind, self._version, int.from_bytes(os.urandom(4))
        )
        return Replacement(f'{self.path}{suffix}', header, self._disk)

    def replace(self, new: Replacement) -> None:
        """Sync a new file, and go on with it under the name of this one.

        When it raises, the new file is closed, and this one is as it was unless the
        folder could not be synced.
        """
        try:
            new.sync()
            self._disk.rename(new.path, self.path)
        except (OSError, errors.StorageError) as error:
            new.close()
            if isinstance(error, OSError):
                raise disks.explain(error, self.path) from error
            raise
        if self._fd >= 0:
            self._disk.close(self._fd)
        self._fd, self._header = new.fd, new.header
        self._end, self._reserved = new.end, new.reserved
        self.replaced += 1
        self._broken = True  # until the folder is known to name the new file
        try:
            self._disk.sync_folder(os.path.dirname(self.path) or '.')
        except OSError as error:
            raise disks.explain(error, self.path) from error
        self._broken = False

    def close(self) -> None:
        """Let go of the file; nothing is synced."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                self._disk.close(fd)
        self._fd = self._lock = -1
        self.replaced += 1

    def _open(self) -> Replay:
        try:
            data = self._disk.read(self.path)
        except FileNotFoundError:
            self.rewrite([])
            return Replay()
        try:
            parser = recordformat.Parser(data)
        except recordformat.Damaged:
            aside = f'{self.path}.damaged'
            self._disk.rename(self.path, aside)
            self.rewrite([])
            return Replay(set_aside=aside)
        self._judge(parser.header)
        records = list(parser)
        self._header = parser.header
        self._end = self._reserved = parser.end
        self._fd = self._disk.open(self.path)
        if len(data) > self._end:
            self._disk.truncate(self._fd, self._end)
        # What was read may be in memory only, and is believed from now on.
        self._disk.sync(self._fd)
        return Replay(records, parser.dropped, parser.gaps, parser.skipped)

    def _judge(self, header: recordformat.Header) -> None:
        if header.kind != self._kind:
            raise errors.StorageError(
                f'{self.path} is a file of {header.kind.decode("latin-1")!r}, not of '
                f'{self._kind.decode("latin-1")!r}: move it away'
            )
        if header.version > self._version:
            raise errors.StorageTooNew(
                f'{self.path} has the format {header.version}, written by a later '
                f'version of the agent; this one knows {self._version}: run the later '
                f'one, or move the file away'
            )

    def _withdraw(self, end: int) -> None:
        """Cut off what a write that failed has left."""
        try:
            # What is left in the room that is reserved is no whole frame.
            self._disk.truncate(self._fd, max(end, self._reserved))
        except OSError:
            self._broken = True

    def _refuse_broken(self) -> None:
        if self._broken:
            raise errors.StorageError(
                f'{self.path}: the disk has failed to keep what was written; the file '
                f'is not used until it is rewritten'
            )


class Replacement:
    """A file that is to take the place of another; raises as :class:`RecordFile`."""

    def __init__(
        self, path: str, header: recordformat.Header, disk: disks.Disk
    ) -> None:
        self.path = path
        self.header = header
        self._disk = disk
        self.fd = -1
        self.end = self.reserved = recordformat.HEADER_SIZE
        try:
            self.fd = disk.create(path)
            disk.write(self.fd, header.encode(), 0)
        except OSError as error:
            self.close()
            raise disks.explain(error, path) from error

    def append(self, payload: bytes) -> int:
        """Write a record behind the last one; return its offset."""
        frame, at = self.header.frame(payload), self.end
        try:
            self._disk.write(self.fd, frame, at)
        except OSError as error:
            raise disks.explain(error, self.path) from error
        self.end += len(frame)
        self.reserved = max(self.reserved, self.end)
        return at

    def reserve(self, size: int) -> None:
        """Have room on the disk for ``size`` bytes behind the last record."""
        need = self.end + size - self.reserved
        if need <= 0:
            return
        try:
            self._disk.allocate(self.fd, self.reserved, need)
        except OSError as error:
            raise disks.explain(error, self.path) from error
        self.reserved += need

    def sync(self) -> None:
        """Have the disk hold what was appended."""
        try:
            self._disk.sync(self.fd)
        except OSError as error:
            raise disks.explain(error, self.path) from error

    def close(self) -> None:
        """Give it up; the next one overwrites what is left."""
        if self.fd >= 0:
            self._disk.close(self.fd)
        self.fd = -1
