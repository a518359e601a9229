# SPDX-License-Identifier: Apache-2.0
"""A backup and a restore as streams; in the worker, on its main thread.

Nothing of the stream is ever on the disk of the guest but what the engine's program
writes there, and the memory that it takes is a few pipes and chunks.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.backups import forms, sealing, tools
from guestagent_datastore.storage import base

#: Told how many bytes of the server's have gone, and how many of them are stored.
Progress = Callable[[int, int], None]


class LeftBehind(errors.StorageError):
    """It failed, and not all of it could be removed from the storage."""


def save(
    storage: base.Storage,
    name: str,
    command: models.Command,
    *,
    level: int,
    keys: Sequence[bytes],
    progress: Progress,
    metadata: Callable[[], Mapping[str, str]],
    arm: Callable[[], None],
    settle: Callable[[], None],
) -> tuple[base.Stored, int]:
    """Store what a program writes as a new object.

    :param name: its end says how it is compressed and whether it is encrypted.
    :param level: how much time to spend on compression.
    :param metadata: called when the program has ended well, before the object is made.
    :param arm: called when there is something that an exception would remove.
    :param settle: called when no exception may come from outside any more.
    :returns: the object, and how many bytes the program wrote.
    :raises LeftBehind: it failed, and parts are left in the storage.
    :raises guestagent.errors.GuestError: it failed, and nothing is left.
    """
    wrapping = forms.wrapping(name)
    sealer = sealing.Sealer(keys[0]) if wrapping.sealed else None
    writer = storage.create(name)
    try:
        arm()
        with _Source(command, wrapping.compressor(level)) as source:
            stored = 0
            for chunk in source.chunks():
                if sealer is not None:
                    chunk = sealer.feed(chunk)
                writer.write(chunk)
                stored += len(chunk)
                progress(source.taken, stored)
        if sealer is not None:
            writer.write(sealer.finish())
        kept = metadata()
        settle()
        return writer.finish(kept), source.taken
    except BaseException as error:
        settle()
        try:
            writer.abort()
        except errors.StorageError as another:
            raise LeftBehind(f'{error}; parts of it are left: {another}') from None
        raise


class _Source:
    """The engine's program and the one that compresses; ended when it is left."""

    def __init__(
        self, command: models.Command, compressor: models.Command | None
    ) -> None:
        self._tools = [tools.Tool(command, stdout=subprocess.PIPE)]
        self._splice: tools.Splice | None = None
        self._count = 0
        if compressor is not None:
            try:
                self._tools.append(
                    tools.Tool(compressor, subprocess.PIPE, subprocess.PIPE)
                )
            except BaseException:
                _end(self._tools)
                raise
            self._splice = tools.Splice(self._tools[0], self._tools[1])
            self._splice.start()

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._tools)
        if self._splice is not None:
            self._splice.join()

    @property
    def taken(self) -> int:
        """How many bytes the program has written."""
        return self._splice.moved if self._splice else self._count

    def chunks(self) -> Iterator[bytes]:
        """Give what is to be stored.

        :raises guestagent.errors.GuestError: one of the programs failed.
        """
        stream = self._tools[-1].process.stdout
        assert stream is not None
        while chunk := os.read(stream.fileno(), tools.PIPE_SIZE):
            self._count += len(chunk)
            yield chunk
        if self._splice is not None:
            self._splice.join()
        _raise_first(self._tools)


def load(
    storage: base.Storage,
    location: str,
    checksum: str,
    command: models.Command,
    *,
    keys: Sequence[bytes],
    progress: Callable[[int, int], None],
) -> base.Stored:
    """Give an object to a program's standard input.

    The program sees the end of its input only after the checksum was right.

    :param progress: told how many bytes were read, and of how many.
    :raises guestagent.errors.GuestError: the object is not whole, or the program
        failed; what the program has written by then is worth nothing.
    """
    stored = storage.describe(location, checksum)
    wrapping = forms.wrapping(location)
    opener = None
    if wrapping.sealed:
        opener = sealing.Opener({sealing.name_of(key): key for key in keys})
    with _Sink(command, wrapping.decompressor()) as sink:
        read = 0
        for chunk in storage.read(stored):
            sink.write(chunk if opener is None else opener.feed(chunk))
            read += len(chunk)
            progress(read, stored.size)
        if opener is not None:
            sink.write(opener.finish())
        sink.finish()
    return stored


class _Sink:
    """What unpacks and the engine's program; ended when it is left."""

    def __init__(
        self, command: models.Command, unpacker: models.Command | None
    ) -> None:
        self._tools: list[tools.Tool] = []
        if unpacker is None:
            self._tools.append(tools.Tool(command, subprocess.PIPE))
        else:
            self._start_two(command, unpacker)
        stream = self._tools[-1].process.stdin
        assert stream is not None
        self._stream = stream

    def _start_two(self, command: models.Command, unpacker: models.Command) -> None:
        inner, outer = os.pipe()
        tools.widen(inner)
        try:
            self._tools.append(tools.Tool(command, inner))
            self._tools.append(tools.Tool(unpacker, subprocess.PIPE, outer))
        except BaseException:
            _end(self._tools)
            raise
        finally:
            os.close(inner)
            os.close(outer)

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._tools)

    def write(self, data: bytes) -> None:
        """Write it.

        :raises guestagent.errors.GuestError: a program ended too early.
        """
        try:
            tools.write_all(self._stream, data)
        except BrokenPipeError:
            # One of them has ended, and the others do without it.
            with contextlib.suppress(OSError):
                self._stream.close()
            self._check()
            name = self._tools[0].name
            raise errors.GuestError(f'{name} ended before the backup did') from None

    def finish(self) -> None:
        """Say that all has come; wait for the programs.

        :raises guestagent.errors.GuestError: one failed.
        """
        self._stream.close()
        self._check()

    def _check(self) -> None:
        # What cannot unpack says more than the one that then gets too little.
        _raise_first(self._tools[::-1])


def _raise_first(all_of_them: Sequence[tools.Tool]) -> None:
    """Wait for programs; raise what the first one says that failed."""
    found = [tool.failure() for tool in all_of_them]
    for failure in found:
        if failure is not None:
            raise failure
    for tool in all_of_them:
        if tool.wait():
            raise errors.GuestError(f'{tool.name} ended too early')


def _end(all_of_them: Sequence[tools.Tool]) -> None:
    for tool in all_of_them:
        tool.kill()
    for tool in all_of_them:
        tool.close()
