# SPDX-License-Identifier: Apache-2.0
"""What a kind of database server is to the extension: the interface of an engine.

An engine is a class that derives from :class:`Engine`, with an entry point in the
group ``guestagent.datastore.engines``.  The extension makes one and calls it:

* Methods that only look (``list_...``, ``get_...``, ``state``) come at any time, on
  several threads, also while something else runs: they must be quick.
* All others come one at a time, also the beginning of a backup and its metadata; only
  its program runs beside them.  The extension holds a lock.
* The server itself is started and stopped by the extension (``services``), with the
  command that :meth:`Engine.server_command` gives; the engine says whether it is ready.

What an engine cannot do it leaves as it is here: the caller is told.  Bad values raise
:class:`guestagent.errors.InvalidArgument`; what the server refuses, or a server that
does not answer, raises :class:`guestagent.errors.GuestError` with the server's own
words, without the statement: it may hold a password.  Heavy modules are imported
where they are used.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from guestagent import errors, extension
from guestagent_datastore import files, models, transfer


class Engine:
    """Base class of engines; each method that is not overridden says that it cannot.

    :cvar name: the entry point's name.
    :cvar packages: what to install where the caller names nothing.
    :cvar user: the account that the packages make for the server.
    :cvar port: the usual TCP port.
    :cvar units: the package's own units, which must not run beside ours.
    :cvar stop_signal: what asks the server to end at once, in good order.
    :cvar backup_for_replica: whether a replica begins with a backup of its source.
    :cvar attach_stopped: whether :meth:`attach` is called while the server is stopped,
        and it is started afterwards.
    :cvar spoils_backup: parameters that must not change while a backup is made.
    :cvar root_name: the account of :meth:`enable_root`.
    :cvar reserved_users: names that callers neither see nor change.
    :cvar reserved_databases: likewise.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    user: ClassVar[str]
    port: ClassVar[int]
    units: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[str] = 'SIGTERM'
    backup_for_replica: ClassVar[bool] = True
    attach_stopped: ClassVar[bool] = False
    spoils_backup: ClassVar[frozenset[str]] = frozenset()
    root_name: ClassVar[str] = 'root'
    reserved_users: ClassVar[frozenset[str]] = frozenset()
    reserved_databases: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, place: models.Place) -> None:
        self.place = place

    def unsupported(self, what: str) -> NoReturn:
        """Say that servers of this kind have no such thing.

        :raises guestagent.errors.CallerError: always.
        """
        raise errors.CallerError(f'{self.name}: {what} is not supported')

    # --- life -------------------------------------------------------------------

    def version(self) -> str:
        """Return the version of the installed server, e.g. ``10.11.6``.

        :raises guestagent.errors.GuestError: none is installed.
        """
        raise NotImplementedError

    @property
    def incomplete(self) -> pathlib.Path:
        """A file that is there while the data folder is being filled, or was not."""
        return self.place.state / 'incomplete'

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Fill the empty data folder; when that fails, it is empty again.

        :raises guestagent.errors.GuestError: there is data already.
        """
        self.prepare_folders()
        if self.incomplete.exists():
            files.empty(self.place.data)
        if any(self.place.data.iterdir()):
            raise errors.GuestError(f'{self.place.data} is not empty')
        self.incomplete.touch()
        try:
            yield
        except BaseException:
            files.empty(self.place.data)
            raise
        finally:
            self.incomplete.unlink()

    def upgrade_packages(self) -> tuple[str, ...]:
        """Return what to bring to the newest minor version of the server."""
        return self.packages

    def initialised(self) -> bool:
        """Whether the data folder holds a server's data, and is not being filled."""
        raise NotImplementedError

    def initialise(self) -> None:
        """Make the files of an empty server in the data folder, which is empty."""
        raise NotImplementedError

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the server's configuration files.

        :param contents: the operator's, in the server's own format, as the base under
            overrides and our own files; ``None``: the present one, else none.
        :param memory: MiB that the server may count on; 0: as before, else the
            machine's.
        """
        raise NotImplementedError

    def prepare_folders(self) -> None:
        """Make the folders of the server that are not there, with their owners."""
        for path in (self.place.data, self.place.run, self.place.logs):
            files.make_folder(path, self.place.user)
        files.make_folder(self.place.config, '', 0o755)
        files.make_folder(self.place.state, '', 0o700)

    def server_command(self) -> models.Command:
        """Return what runs the server in the foreground, until :attr:`stop_signal`."""
        raise NotImplementedError

    def ready(self) -> models.State:
        """Ask the server: ``healthy``, ``running`` or ``shutdown``; within 3 seconds.

        ``shutdown`` if nobody listens on the socket, whatever the reason.
        """
        raise NotImplementedError

    def may_stop(self) -> bool:
        """Whether the server would follow :attr:`stop_signal` now, or not be there."""
        return True

    def server_pid(self) -> int:
        """Return the process that listens on the socket, or 0 (``services.peer``)."""
        raise NotImplementedError

    def last_words(self) -> str:
        """Return what the server said before it ended, in one line; ``''``: nothing."""
        return ' '.join(files.tail(self.place.logs / 'output.log')[-3:])

    def secure(self) -> None:
        """Take away what a server has too much after its first start, or a restore.

        What callers have made stays, root among it.
        """
        raise NotImplementedError

    def recover(self, operation: str) -> str:
        """Get over ``operation``, which the agent's end cut short.

        :returns: what was found and done, one sentence for the operator.
        """
        if self.incomplete.exists():
            files.empty(self.place.data)
            self.incomplete.unlink()
            return 'the data was not whole, and was deleted'
        if not self.initialised():
            return 'there is no data'
        return 'the data is whole; the server itself knows how far it got'

    def returned(self) -> None:
        """Make files anew: data and state of before a restore are back."""
        self.configure()

    def upgraded(self) -> None:
        """Bring the data to the installed version; the server runs."""

    def close(self) -> None:
        """Let go of connections; the engine may be used again."""

    # --- databases and users ----------------------------------------------------

    def list_databases(
        self, limit: int | None, marker: str | None, include_marker: bool
    ) -> models.Page[models.Database]:
        """Return databases by name, at most ``limit``, after ``marker``."""
        self.unsupported('databases')

    def create_databases(self, databases: Sequence[models.Database]) -> None:
        """Make databases; those that are there stay as they are."""
        self.unsupported('databases')

    def delete_database(self, name: str) -> None:
        """Delete a database with all that is in it.

        :raises guestagent.errors.InvalidArgument: there is none of this name.
        """
        self.unsupported('databases')

    def list_users(
        self, limit: int | None, marker: str | None, include_marker: bool
    ) -> models.Page[models.User]:
        """Return users with their databases, in the order of ``name@host``."""
        self.unsupported('users')

    def get_user(self, name: str, host: str) -> models.User | None:
        """Return one user with its databases; ``None``: there is none."""
        self.unsupported('users')

    def create_users(self, users: Sequence[models.User]) -> None:
        """Make users with their passwords and grant them their databases.

        One that is there gets this password and these databases too.
        """
        self.unsupported('users')

    def delete_user(self, name: str, host: str) -> None:
        """Delete a user.

        :raises guestagent.errors.InvalidArgument: there is none of this name.
        """
        self.unsupported('users')

    def update_user(self, name: str, host: str, change: models.UserChange) -> None:
        """Change a user's name, host or password; its grants stay.

        :raises guestagent.errors.InvalidArgument: there is none, or the new one is
            there already.
        """
        self.unsupported('users')

    def grant(self, name: str, host: str, databases: Sequence[str]) -> None:
        """Let a user do everything in these databases."""
        self.unsupported('users')

    def revoke(self, name: str, host: str, database: str) -> None:
        """Take a user's rights in a database away."""
        self.unsupported('users')

    def enable_root(self, password: str) -> models.Root:
        """Open the root account from everywhere, with this password."""
        self.unsupported('root')

    def disable_root(self) -> None:
        """Close it; :meth:`root_enabled` is False from now on."""
        self.unsupported('root')

    def root_enabled(self) -> bool:
        """Whether somebody could log in as root, told by the server."""
        self.unsupported('root')

    # --- configuration ----------------------------------------------------------

    def parameters(self, names: Sequence[str] | None) -> list[models.Parameter]:
        """Return these parameters, or all.

        :raises guestagent.errors.InvalidArgument: the server has no such parameter.
        """
        self.unsupported('configuration')

    def check_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Check names, types and ranges against the server; nothing changes.

        :raises guestagent.errors.InvalidArgument: names each bad one and the reason.
        """
        self.unsupported('configuration')

    def set_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Keep these overrides beside earlier ones; they count after a start."""
        self.unsupported('configuration')

    def reset_overrides(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Forget these overrides, or all; returns the names that were forgotten."""
        self.unsupported('configuration')

    def apply_overrides(self, names: Sequence[str] | None = None) -> models.Applied:
        """Have the running server take the kept values now, where it can.

        :param names: those that were set or reset; ``None``: all that are kept.
        """
        self.unsupported('configuration')

    def overrides(self) -> dict[str, models.Value]:
        """Return the overrides that are kept."""
        self.unsupported('configuration')

    # --- backups ----------------------------------------------------------------

    def backup(
        self, parent: Mapping[str, str] | None, work: pathlib.Path
    ) -> transfer.Backup:
        """Begin a backup; the server runs.

        :param parent: the metadata of the backup that it follows; ``None``: full.
        :param work: an empty folder for small files while it is made.
        """
        self.unsupported('backup')

    def restore(self, work: pathlib.Path) -> transfer.Restore:
        """Begin a restore into the empty data folder; the server is stopped.

        :param work: an empty folder on the volume, for what has no place there.
        """
        self.unsupported('backup')

    def lock_writes(self) -> Callable[[], None]:
        """Write nothing more to disk, for a snapshot; returns what ends that."""
        self.unsupported('snapshots')

    # --- replication ------------------------------------------------------------

    def replication(self) -> models.Replication:
        """Return how replication goes."""
        self.unsupported('replication')

    def enable_source(self) -> bool:
        """Configure the server as a source; returns whether it must be restarted."""
        self.unsupported('replication')

    def replication_account(self) -> models.Source:
        """Make (again) the account for replicas; ``host`` is ``''``, ``port`` ours."""
        self.unsupported('replication')

    def attach(
        self, source: models.Source, context: extension.Context | None = None
    ) -> None:
        """Follow a source; the server runs with the source's data, writes are off.

        With :attr:`attach_stopped` it is stopped, and without a backup for replicas
        the data is fetched from the source, until the context is cancelled.

        :raises guestagent.errors.GuestError: the source refuses, or does not answer.
        """
        self.unsupported('replication')

    def detach(self, for_failover: bool) -> dict[str, Any]:
        """Follow no more, and take writes.

        :param for_failover: first apply all that was received.
        :returns: what :meth:`forget_replica` needs at the source.
        """
        self.unsupported('replication')

    def forget_replica(self, info: Mapping[str, Any]) -> None:
        """Remove what a source has kept for a replica that is detached."""
        self.unsupported('replication')

    def demote(self) -> None:
        """Be no source any more: writes off, replicas' account removed."""
        self.unsupported('replication')

    def set_read_only(self, read_only: bool) -> None:
        """Refuse writes of everybody, also after a restart; or take them again."""
        self.unsupported('replication')

    def last_transaction(self) -> models.Transaction:
        """Return the last transaction that is here, from whatever source."""
        self.unsupported('replication')

    def position(self) -> str:
        """Return what :meth:`wait_for` of a replica takes, to reach this point."""
        self.unsupported('replication')

    def wait_for(self, position: str, seconds: float) -> None:
        """Wait until a replica has applied all up to ``position``.

        :raises guestagent.errors.CommandTimeout: it has not, in this time.
        """
        self.unsupported('replication')

    # --- logs and TLS -----------------------------------------------------------

    def logs(self) -> list[models.Log]:
        """Return the logs that there are."""
        self.unsupported('logs')

    def enable_log(self, name: str, enabled: bool) -> bool:
        """Switch a log on or off; returns whether the server must be restarted."""
        self.unsupported('logs')

    def tls(self) -> models.Tls:
        """Return how the server speaks TLS."""
        self.unsupported('TLS')

    def enable_tls(self, files: models.TlsFiles, required: bool) -> bool:
        """Take this certificate; returns whether the server must be restarted."""
        self.unsupported('TLS')

    def disable_tls(self) -> bool:
        """Speak TLS no more; returns whether the server must be restarted."""
        self.unsupported('TLS')
