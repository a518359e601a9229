# SPDX-License-Identifier: Apache-2.0
"""What an engine gives to the code of backups: programs, and what goes around them.

The engine knows which program writes or reads the stream; compression, encryption,
checksum and storage are of no concern to it.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping

from guestagent import extension
from guestagent_datastore import models


class Backup(abc.ABC):
    """One backup that is being made; ``with engine.backup(...) as backup``.

    :ivar command: its standard output is the backup, and it ends with 0 when that is
        whole; what it says stands on standard error.
    :ivar form: of the stream: ``mbstream``, ``tar``, ``rdb``.
    :ivar estimate: about how many bytes will come; 0: nobody knows.
    """

    command: models.Command
    form: str
    estimate: int = 0

    def __enter__(self) -> Backup:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abc.abstractmethod
    def metadata(self) -> dict[str, str]:
        """Return what a later incremental backup or a restore needs of this one.

        Called once, after the command has ended with 0.  Kept with the backup, and
        given back as ``parent`` and to :meth:`Restore.part`.

        :raises guestagent.errors.GuestError: the backup is not whole after all.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Remove what was needed while it was made; also after a failure."""


class Restore(abc.ABC):
    """One restore; ``with engine.restore() as restore``; the server is stopped.

    For the full backup, then for each incremental one in their order: run the command
    of :meth:`part` with the stream as its standard input, then :meth:`part_done`.
    At the end :meth:`finish`.  Left without it, all that was restored is removed.
    """

    def __enter__(self) -> Restore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abc.abstractmethod
    def part(self, metadata: Mapping[str, str]) -> models.Command:
        """Return what reads the next stream from its standard input."""

    @abc.abstractmethod
    def part_done(self, context: extension.Context | None = None) -> None:
        """Apply what was read, after the command has ended with 0.

        :param context: cancelled, it ends at once.

        :raises guestagent.errors.GuestError: it cannot be applied.
        """

    @abc.abstractmethod
    def finish(self) -> None:
        """Make the data ready for the server to start.

        :raises guestagent.errors.GuestError: the data is not whole.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Remove what is not needed; all that was restored unless it is finished."""
