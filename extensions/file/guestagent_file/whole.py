# SPDX-License-Identifier: Apache-2.0
"""The commands that carry whole files: small ones at once, large ones in parts."""

from __future__ import annotations

import errno
import os
from typing import Any

from guestagent import errors, extension
from guestagent_file import about, draft, failures, paths, transfer
from guestagent_file import data as texts


class Whole(paths.Paths):
    """Answers ``file.get``, ``put``, and those of pushes and pulls."""

    @extension.command(mutates=False)
    def get(
        self, context: extension.Context, path: str, count: int | None = None
    ) -> dict[str, Any]:
        """Return a whole file as base64 (``data``), with what stat tells of it.

        One that has more than ``count`` bytes is refused.
        """
        most = self.at_most(self.conf.read_max if count is None else count)
        with self.place('cannot read', path) as place:
            descriptor = self.open_plain(place)
            try:
                found = os.fstat(descriptor)
                content = _read_all(descriptor, most)
            finally:
                os.close(descriptor)
        if content is None:
            raise failures.invalid(f'{path!r} has more than {most} bytes', errno.EFBIG)
        return {**about.describe(found), 'data': texts.to_text(content)}

    @extension.command(mutates=True, sensitive=('data',))
    def put(
        self,
        context: extension.Context,
        path: str,
        data: str,
        permissions: int | None = None,
        user: str | int | None = None,
        group: str | int | None = None,
        modified: int | None = None,
    ) -> dict[str, int]:
        """Write a whole file, given as base64, which is seen whole or not at all.

        A file that is replaced keeps its permissions and owner unless others are given;
        a new one gets 0644.  It is on the disk when this returns.

        :raises guestagent.errors.GuestError: it cannot be written; the old one stays.
        """
        content = texts.to_bytes(data)
        settings = _settings(permissions, user, group, modified)
        with self.place('cannot write', path) as place:
            made = draft.Draft(place)
            try:
                made.write(content, 0)
                made.commit(settings)
            finally:
                made.discard()
        return {'count': len(content)}

    @extension.command(mutates=True)
    def push_begin(
        self,
        context: extension.Context,
        path: str,
        size: int,
        key: str = '',
        permissions: int | None = None,
        user: str | int | None = None,
        group: str | int | None = None,
        modified: int | None = None,
    ) -> dict[str, Any]:
        """Begin a file that comes in parts; return its number (``push``).

        The same caller, path, size and ``key`` go on with one that was broken off:
        ``have`` lists the bytes that are there, as [first, behind the last].
        """
        if size < 0:
            raise failures.invalid(f'size: {size} is below 0')
        settings = _settings(permissions, user, group, modified)
        for number, held in self.table.of(context.owner):
            if isinstance(held, transfer.Push) and held.is_again(path, size, key):
                held.settings = settings
                return held.describe(number)
        self.table.require_room()
        with self.place('cannot write', path) as place:
            made = transfer.Push(context.owner, place, size, key, settings)
        made.sweep(self.conf.handle_idle)
        return made.describe(self.table.add(made))

    # What it writes is nobody's to see before push_end, and repeats do no harm: it need
    # not be in the journal.
    @extension.command(mutates=False, sensitive=('data',))
    def push_part(
        self, context: extension.Context, push: int, offset: int, data: str
    ) -> None:
        """Take the bytes of a push from ``offset`` on, given as base64."""
        content = texts.to_bytes(data)
        with self.held(context, push, transfer.Push, 'cannot write') as held:
            held.take(offset, content)

    @extension.command(mutates=True, timeout=None)
    def push_end(
        self, context: extension.Context, push: int, sha256: str | None = None
    ) -> dict[str, Any]:
        """Let a pushed file take its place, if it is whole and has this checksum."""

        def sure(found: str) -> None:
            # Its path is in another record, and a checksum only if one was given.
            about = {'path': held.path, 'size': held.size, 'sha256': found}
            self.record_note('push_end', context, about, needed=True)

        with self.held(context, push, transfer.Push, 'cannot write') as held:
            found = held.end(sha256, context.check, sure)
        self.table.close(context.owner, push, transfer.Push)
        return {'size': held.size, 'sha256': found}

    @extension.command(mutates=True)
    def push_abort(self, context: extension.Context, push: int) -> None:
        """Forget a push; nothing is left of it."""
        self.table.close(context.owner, push, transfer.Push)

    @extension.command(mutates=False)
    def pull_begin(self, context: extension.Context, path: str) -> dict[str, Any]:
        """Open a file that goes in parts; return its number (``pull``), size, version.

        The ``version`` changes when the file does.
        """
        self.table.require_room()
        with self.place('cannot read', path) as place:
            held = transfer.Pull(context.owner, path, self.open_plain(place))
        return held.describe(self.table.add(held))

    @extension.command(mutates=False)
    def pull_part(
        self, context: extension.Context, pull: int, offset: int, count: int
    ) -> dict[str, Any]:
        """Return up to ``count`` bytes of a pull from ``offset`` on, as base64."""
        self.at_most(count)
        with self.held(context, pull, transfer.Pull, 'cannot read') as held:
            content = held.give(offset, count)
        return {'data': texts.to_text(content), 'count': len(content)}

    @extension.command(mutates=False, timeout=None)
    def pull_end(self, context: extension.Context, pull: int) -> dict[str, Any]:
        """Close a pull; return the checksum of the whole file.

        :raises guestagent.errors.GuestError: it was changed meanwhile.
        """
        try:
            with self.held(context, pull, transfer.Pull, 'cannot read') as held:
                found = held.end(context.check)
        except errors.InvalidArgument:
            raise
        except errors.GuestAgentError:
            self.table.close(context.owner, pull, transfer.Pull)
            raise
        self.table.close(context.owner, pull, transfer.Pull)
        return {'size': held.size, 'sha256': found}


def _settings(
    permissions: int | None,
    user: str | int | None,
    group: str | int | None,
    modified: int | None,
) -> draft.Settings:
    return draft.Settings(
        about.permissions(permissions),
        about.user_number(user),
        about.group_number(group),
        modified,
    )


def _read_all(descriptor: int, most: int) -> bytes | None:
    """Return all that is in a file; ``None``: it is more than ``most``."""
    found: list[bytes] = []
    left = most + 1
    while left:
        content = os.read(descriptor, min(left, 4 * 1024 * 1024))
        if not content:
            return b''.join(found)
        found.append(content)
        left -= len(content)
    return None
