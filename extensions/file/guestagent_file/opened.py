# SPDX-License-Identifier: Apache-2.0
"""The commands for open files."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, Literal

from guestagent import extension
from guestagent_file import about, base, failures
from guestagent_file import data as texts
from guestagent_file import handle as handles


class Opened(base.Base):
    """Answers ``file.open`` and what is done with a handle."""

    @extension.command(mutates=True)
    def open(
        self,
        context: extension.Context,
        path: str,
        mode: str = 'r',
        permissions: int | None = None,
        exclusive: bool = False,
    ) -> dict[str, int]:
        """Open a file and return its ``handle``, a number.

        ``mode`` is that of fopen(3).  A file that is made gets ``permissions``, by
        default 0666 less the umask; with ``exclusive`` there must be none yet.

        :raises guestagent.errors.InvalidArgument: it cannot be opened as asked.
        :raises guestagent.errors.GuestError: the guest cannot open it.
        """
        plain = mode.replace('b', '', 1)
        if plain not in handles.MODES:
            raise failures.invalid(f'invalid file open mode {mode!r}')
        about.permissions(permissions)
        self.table.require_room()
        with self.place('cannot open', path) as place:
            descriptor = handles.open_file(place, plain, permissions, exclusive)
            try:
                self.jail.check(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        held = handles.Handle(context.owner, descriptor, path, plain)
        number = self.table.add(held)
        if plain != 'r':
            # Records of what is written have nothing but the handle.
            self.record_note('open', context, {'handle': number})
        return {'handle': number}

    @extension.command(mutates=False)
    def read(
        self,
        context: extension.Context,
        handle: int,
        count: int = 65536,
        offset: int | None = None,
    ) -> dict[str, Any]:
        """Return up to ``count`` bytes as base64 (``data``), and whether there is more.

        They are at ``offset``, or else at the handle's position, which moves on.
        """
        self.at_most(count)
        _check_offset(offset)
        with self.held(context, handle, handles.Handle, 'cannot read') as held:
            found, eof = held.read(count, offset)
        return {'data': texts.to_text(found), 'count': len(found), 'eof': eof}

    @extension.command(mutates=True, sensitive=('data',))
    def write(
        self,
        context: extension.Context,
        handle: int,
        data: str,
        count: int | None = None,
        offset: int | None = None,
    ) -> dict[str, Any]:
        """Write bytes, given as base64, and return how many were taken (``count``).

        They go to ``offset``, or else to the handle's position, which moves on.
        """
        found = texts.to_bytes(data)
        if count is not None:
            if not 0 <= count <= len(found):
                raise failures.invalid(f"value '{count}' is invalid for argument count")
            found = found[:count]
        _check_offset(offset)
        with self.held(context, handle, handles.Handle, 'cannot write') as held:
            return {'count': held.write(found, offset), 'eof': False}

    @extension.command(mutates=False)
    def seek(
        self,
        context: extension.Context,
        handle: int,
        offset: int,
        whence: Literal['set', 'cur', 'end'] = 'set',
    ) -> dict[str, Any]:
        """Move a handle's position, and return it."""
        with self.held(context, handle, handles.Handle, 'cannot seek in') as held:
            try:
                moved = os.lseek(held.descriptor, offset, handles.WHENCE[whence])
            except OverflowError:
                raise failures.invalid(
                    f'offset {offset} is too large', errno.EOVERFLOW
                ) from None
        return {'position': moved, 'eof': False}

    @extension.command(mutates=True)
    def flush(self, context: extension.Context, handle: int) -> None:
        """Have what was written on the disk."""
        with (
            self.held(context, handle, handles.Handle, 'cannot flush') as held,
            contextlib.suppress(_Unsyncable),
        ):
            _sync(held.descriptor)

    @extension.command(mutates=True)
    def close(self, context: extension.Context, handle: int) -> None:
        """Close a handle."""
        self.table.close(context.owner, handle, handles.Handle)

    @extension.command(mutates=False)
    def handles(self, context: extension.Context) -> list[dict[str, Any]]:
        """List the files that the caller has open."""
        return [
            held.describe(number)
            for number, held in self.table.of(context.owner)
            if isinstance(held, handles.Handle)
        ]

    @extension.command(mutates=True)
    def truncate(
        self,
        context: extension.Context,
        size: int,
        handle: int | None = None,
        path: str | None = None,
    ) -> None:
        """Cut a file to ``size`` bytes, or make it so long with zeros."""
        if (handle is None) == (path is None):
            raise failures.invalid('give either handle or path')
        _check_offset(size)
        if handle is not None:
            with self.held(context, handle, handles.Handle, 'cannot truncate') as held:
                os.ftruncate(held.descriptor, size)
        elif path is not None:
            with self.place('cannot truncate', path) as place:
                descriptor = place.open(os.O_WRONLY)
                try:
                    self.jail.check(path, descriptor)
                    os.ftruncate(descriptor, size)
                finally:
                    os.close(descriptor)


class _Unsyncable(Exception):
    """It is no file on a disk."""


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EROFS):
            raise _Unsyncable from None
        raise


def _check_offset(offset: int | None) -> None:
    if offset is not None and not 0 <= offset < 2**63:
        raise failures.invalid(f'{offset} is no place in a file')
