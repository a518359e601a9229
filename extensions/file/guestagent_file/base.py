# SPDX-License-Identifier: Apache-2.0
"""What all commands of ``file`` stand on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension
from guestagent_file import failures, guard, jail, table

if TYPE_CHECKING:
    from oslo_config import cfg


class Base(extension.Extension):
    """Has the jail, and the table of what is open."""

    needs_root = 'to reach files of other users'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        try:
            self.jail = jail.Jail(
                conf.allowed_paths, guard.Guard(host.own_paths, conf.denied_paths)
            )
        except ValueError as error:
            raise errors.ConfigError(f'[{name}] {error}') from None
        self.table = table.Table(conf.handles_max, conf.handle_idle)

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """See the base class."""
        from guestagent_file import conf  # it needs oslo.config

        return conf.OPTIONS

    def busy(self) -> bool:
        """Whether anything is open."""
        return len(self.table) > 0

    def stop(self) -> None:
        """Close all that is open."""
        self.table.clear()

    @contextlib.contextmanager
    def place(
        self, what: str, path: str, follow: bool = True, moves: bool = False
    ) -> Iterator[jail.Place]:
        """Return where a path leads; what fails within the ``with`` block is told.

        :param what: what is tried, as ``cannot open``.
        :param follow: and ``moves``, as :meth:`guestagent_file.jail.Jail.find`.
        """
        with (
            failures.told(f'{what} {path!r}'),
            self.jail.find(path, follow, moves) as found,
        ):
            yield found

    @contextlib.contextmanager
    def held(
        self, context: extension.Context, number: int, kind: type[table.Kind], what: str
    ) -> Iterator[table.Kind]:
        """Return what the caller has open; what fails meanwhile is told, as above.

        :raises guestagent.errors.InvalidArgument: the caller has none of this number.
        """
        with (
            self.table.use(context.owner, number, kind) as found,
            failures.told(f'{what} {found.path!r}'),
        ):
            yield found

    def at_most(self, count: int) -> int:
        """Return how much is to be read.

        :raises guestagent.errors.InvalidArgument: it is too much, or less than nothing.
        """
        if not 0 <= count <= self.conf.read_max:
            raise failures.invalid(
                f"value '{count}' is invalid for argument count (at most "
                f'{self.conf.read_max}, [file] read_max)'
            )
        return count
