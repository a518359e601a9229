# SPDX-License-Identifier: Apache-2.0
"""The commands for files and folders by their paths."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from guestagent import extension
from guestagent_file import about, base, failures, jail

#: The checksums that ``file.checksum`` makes.
ALGORITHMS = ('sha256', 'sha512', 'sha1', 'md5', 'blake2b')

_CHUNK = 1024 * 1024


class Paths(base.Base):
    """Answers what names a path and opens nothing for long."""

    @extension.command(mutates=False)
    def stat(
        self, context: extension.Context, path: str, follow: bool = True
    ) -> dict[str, Any]:
        """Return what there is to know of a file; ``follow``: links at the end."""
        with self.place('cannot look at', path, follow) as place:
            return about.describe(_there(place))

    @extension.command(mutates=False)
    def list(
        self,
        context: extension.Context,
        path: str,
        after: str = '',
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return the ``entries`` of a folder, by name, and where to go on (``next``).

        With ``after``, the ``next`` of the page before, it goes on from there.
        """
        from guestagent_file import tree

        most = self.conf.list_max if limit is None else min(limit, self.conf.list_max)
        if most < 1:
            raise failures.invalid(f'limit: {most} is less than 1')
        with self.place('cannot list', path) as place:
            return tree.entries(place, after, most, self.jail.hides)

    @extension.command(mutates=False, timeout=None)
    def checksum(
        self,
        context: extension.Context,
        path: str,
        algorithm: str = 'sha256',
        offset: int = 0,
        count: int | None = None,
    ) -> dict[str, Any]:
        """Return the ``checksum`` of a file, or a part of it, in hexadecimal."""
        import hashlib

        if algorithm not in ALGORITHMS:
            raise failures.invalid(
                f'algorithm: {algorithm!r} is none of {", ".join(ALGORITHMS)}'
            )
        if offset < 0 or (count is not None and count < 0):
            raise failures.invalid('offset and count must not be below 0')
        made = hashlib.new(algorithm, usedforsecurity=False)
        with self.place('cannot read', path) as place:
            descriptor = self.open_plain(place)
            try:
                size = _feed(made, descriptor, offset, count, context)
            finally:
                os.close(descriptor)
        return {'checksum': made.hexdigest(), 'algorithm': algorithm, 'count': size}

    @extension.command(mutates=True)
    def chmod(self, context: extension.Context, path: str, permissions: int) -> None:
        """Set the permissions of a file or folder."""
        about.permissions(permissions)
        with self.place('cannot change', path) as place:
            descriptor = place.open(os.O_PATH)
            try:
                self.jail.check(path, descriptor)
                if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                # The way to what a descriptor of this kind stands for.
                os.chmod(f'/proc/self/fd/{descriptor}', permissions)
            finally:
                os.close(descriptor)

    @extension.command(mutates=True)
    def chown(
        self,
        context: extension.Context,
        path: str,
        user: str | int | None = None,
        group: str | int | None = None,
        follow: bool = True,
    ) -> None:
        """Set the owner or the group of a file or folder, by name or number."""
        numbers = about.user_number(user), about.group_number(group)
        with self.place('cannot change', path, follow) as place:
            _there(place)
            os.chown(
                place.name,
                *(-1 if number is None else number for number in numbers),
                dir_fd=place.folder,
                follow_symlinks=False,
            )

    @extension.command(mutates=True)
    def utime(
        self,
        context: extension.Context,
        path: str,
        modified: int,
        accessed: int | None = None,
        follow: bool = True,
    ) -> None:
        """Set when a file was modified, and accessed, in nanoseconds since 1970."""
        times = (modified if accessed is None else accessed, modified)
        with self.place('cannot change', path, follow) as place:
            _there(place)
            try:
                os.utime(
                    place.name, ns=times, dir_fd=place.folder, follow_symlinks=False
                )
            except OverflowError:
                raise failures.invalid(f'{times} are no times') from None

    @extension.command(mutates=True)
    def rename(self, context: extension.Context, path: str, target: str) -> None:
        """Give a file or folder another path; what is there is replaced, if it can be.

        A link is renamed itself.
        """
        with (
            self.place('cannot rename', path, follow=False, moves=True) as place,
            self.place('cannot rename to', target, follow=False, moves=True) as to,
        ):
            os.rename(
                place.name, to.name, src_dir_fd=place.folder, dst_dir_fd=to.folder
            )

    @extension.command(mutates=True, timeout=None)
    def remove(
        self, context: extension.Context, path: str, recursive: bool = False
    ) -> dict[str, int]:
        """Remove a file, a link or an empty folder; ``recursive``: with all within.

        Returns how many it was (``removed``).
        """
        from guestagent_file import tree

        with self.place('cannot remove', path, follow=False, moves=True) as place:
            found = _there(place)
            if place.name == '.':
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            if recursive:
                removed = tree.remove(place, self.jail.hides, context.check)
                return {'removed': removed}
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(place.name, dir_fd=place.folder)
            else:
                os.unlink(place.name, dir_fd=place.folder)
        return {'removed': 1}

    @extension.command(mutates=True)
    def mkdir(
        self,
        context: extension.Context,
        path: str,
        parents: bool = False,
        permissions: int = 0o755,
    ) -> None:
        """Make a folder; ``parents``: with those above, and it may be there already."""
        about.permissions(permissions)
        missing = [path]
        with failures.told(f'cannot make the folder {path!r}'):
            while missing:
                try:
                    self._make_folder(missing[-1], parents, permissions)
                except FileNotFoundError:
                    above = os.path.dirname(missing[-1].rstrip('/'))
                    if not parents or len(above) < 2:
                        raise
                    missing.append(above)
                else:
                    missing.pop()

    @extension.command(mutates=False)
    def readlink(self, context: extension.Context, path: str) -> dict[str, str]:
        """Return what a link leads to, as it stands there (``target``)."""
        with self.place('cannot read the link', path, follow=False) as place:
            return {'target': os.readlink(place.name, dir_fd=place.folder)}

    @extension.command(mutates=True)
    def symlink(self, context: extension.Context, path: str, target: str) -> None:
        """Make a link at ``path`` that leads to ``target``."""
        if not target or '\0' in target:
            raise failures.invalid('target: it can be no path', errno.ENOENT)
        with self.place('cannot make the link', path, follow=False) as place:
            os.symlink(target, place.name, dir_fd=place.folder)

    def open_plain(self, place: jail.Place) -> int:
        """Open a plain file to be read, and return the descriptor.

        :raises guestagent.errors.InvalidArgument: it is none.
        :raises OSError: it cannot be opened.
        """
        from guestagent_file import draft

        descriptor = place.open(os.O_RDONLY)
        try:
            self.jail.check(place.path, descriptor)
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise draft.not_plain(place.path, mode)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _make_folder(self, path: str, parents: bool, permissions: int) -> None:
        with self.jail.find(path) as place:
            found = place.found
            if parents and found is not None and stat.S_ISDIR(found.st_mode):
                return
            os.mkdir(place.name, 0o700, dir_fd=place.folder)
            descriptor = place.open(os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fchmod(descriptor, permissions)
            finally:
                os.close(descriptor)


def _there(place: jail.Place) -> os.stat_result:
    if place.found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return place.found


def _feed(
    made: Any,
    descriptor: int,
    offset: int,
    count: int | None,
    context: extension.Context,
) -> int:
    """Feed a part of a file to a checksum, and return its size."""
    fed = 0
    while count is None or fed < count:
        context.check()
        some = _CHUNK if count is None else min(_CHUNK, count - fed)
        found = os.pread(descriptor, some, offset + fed)
        if not found:
            break
        made.update(found)
        fed += len(found)
    return fed
