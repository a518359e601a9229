# SPDX-License-Identifier: Apache-2.0
"""What a place for backups and logs is: the interface of a storage.

A storage is a class that derives from :class:`Storage`, with an entry point in the
group ``guestagent.datastore.storages``.  It is made and used in the child process of
:mod:`guestagent_datastore.backups.worker`, on one thread.

An object has a name without folders, or with ``/`` between the parts of it, and lies in
the container that the target names.  Its location is a URL; only the container and the
name of a location count: where the storage is, and with which token to speak to it, is
said by the target alone, so that no location can draw a token to a stranger.

Errors are :class:`guestagent.errors.StorageError`, or
:class:`guestagent.errors.DiskFull`, and name what was done to which object.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping

from guestagent import errors

#: How much a reader gives at once at most, in bytes.
CHUNK = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where to keep something, and how to get in.

    :ivar storage: the entry point's name.
    :ivar url: of the storage: ``file:`` a folder's absolute path; ``swift:`` the
        account's URL, as ``https://host/v1/AUTH_...``.
    :ivar container: a name without ``/``.
    :ivar token: the user's, for storages that want one.
    :ivar segment_size: bytes after which a new segment begins, where there are such.
    :ivar ca_file: whom to trust for TLS; ``''``: whom the system trusts.
    :ivar insecure: trust anybody.
    """

    storage: str
    url: str
    container: str
    token: str = dataclasses.field(default='', repr=False)
    segment_size: int = 2 * 1024**3
    ca_file: str = ''
    insecure: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """An object that is whole.

    :ivar checksum: of what is stored; SHA-256, or what the storage computes itself.
    :ivar size: in bytes.
    """

    location: str
    checksum: str
    size: int
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Writer(abc.ABC):
    """A new object; nobody sees it before :meth:`finish`."""

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Add to it."""

    @abc.abstractmethod
    def finish(self, metadata: Mapping[str, str]) -> Stored:
        """Make it whole and lasting."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Remove all of it; after :meth:`finish` it does nothing.

        :raises guestagent.errors.StorageError: something is left behind, for
            :meth:`Storage.sweep`.
        """


class Storage(abc.ABC):
    """One container of a storage."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abc.abstractmethod
    def create(self, name: str) -> Writer:
        """Begin a new object.

        :raises guestagent.errors.StorageError: there is one of this name.
        """

    @abc.abstractmethod
    def describe(self, location: str, checksum: str = '') -> Stored:
        """Return what is known of an object without reading it.

        :param checksum: what it must be; ``''``: anything.
        :raises guestagent.errors.StorageError: there is none, or it is another.
        """

    @abc.abstractmethod
    def read(self, stored: Stored) -> Iterator[bytes]:
        """Give what an object of :meth:`describe` holds, in order.

        It ends only when all has come and the checksum is right.

        :raises guestagent.errors.StorageError: it is not what was stored.
        """

    @abc.abstractmethod
    def delete(self, location: str) -> None:
        """Remove an object with all that belongs to it; none there is none removed."""

    @abc.abstractmethod
    def sweep(self, name: str) -> int:
        """Remove what an interrupted :meth:`create` has left; return how much it was.

        A whole object of this name stays.
        """

    # --- small objects ----------------------------------------------------------

    @abc.abstractmethod
    def put(
        self, name: str, data: bytes, metadata: Mapping[str, str], keep: int = 0
    ) -> None:
        """Write a small object at once, in the place of one of this name.

        :param keep: seconds after which the storage may remove it; 0: never.
        """

    @abc.abstractmethod
    def get(self, name: str) -> bytes | None:
        """Return a small object; ``None``: there is none."""

    @abc.abstractmethod
    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so, in order."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a small object; none there is none removed."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections."""


def check_name(name: str) -> str:
    """Return a name that cannot lead out of its container.

    :raises guestagent.errors.InvalidArgument: it could, or cannot be one.
    """
    parts = name.split('/')
    if (
        not name.isprintable()
        or len(name.encode(errors='replace')) > 900
        or any(part in ('', '.', '..') for part in parts)
    ):
        raise errors.InvalidArgument(f'{name!r} cannot be the name of an object')
    return name


def check_container(name: str) -> str:
    """Return the name of a container.

    :raises guestagent.errors.InvalidArgument: it cannot be one.
    """
    if '/' in name or len(name.encode(errors='replace')) > 200:
        raise errors.InvalidArgument(f'{name!r} cannot be the name of a container')
    return check_name(name)


def check_sum(found: str, expected: str, location: str) -> None:
    """Compare two checksums.

    :raises guestagent.errors.StorageError: they differ.
    """
    if expected and found != expected:
        raise errors.StorageError(
            f'{location}: its checksum is {found}, not {expected}: it is damaged, or '
            f'another object'
        )
