# SPDX-License-Identifier: Apache-2.0
"""Backups, and logs that are published."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import socket
from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import models
from guestagent_datastore.backups import chain as chains
from guestagent_datastore.backups import manager, replacing, targets
from guestagent_datastore.storage import base as storages

LOG = logging.getLogger(__name__)

#: Of both: the token and the key must be in no log and no journal.
_SECRET = ('target', 'encryption_key')


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A backup that is to be restored.

    :ivar key: of the caller; ``''``: those of the options.
    """

    location: str
    checksum: str
    place: storages.Target
    key: str = dataclasses.field(repr=False)


class Backups(replacing.Replacing):
    """Makes backups and restores them; publishes logs."""

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self.backups = manager.Manager(conf, pathlib.Path(conf.state_folder))

    def start(self) -> None:
        """Tell which backups were cut short."""
        super().start()
        for record in self.backups.interrupted():
            self.report_event(
                'backup_failed',
                {
                    'backup_id': record.backup_id,
                    'command_id': record.command_id,
                    'since': record.since,
                    'reason': 'the agent stopped before it was done',
                },
            )

    @extension.periodic(spacing=3600)
    def tidy(self) -> None:
        """Remove what failed backups have left where no token is needed."""
        try:
            self.backups.tidy(self.engine, extension.Context())
        except errors.GuestAgentError as error:
            # Such as a share that is not mounted; the next time, then.
            LOG.warning('what failed backups have left stays for now: %s', error)

    @extension.command(mutates=True, timeout=None, sensitive=_SECRET)
    def backup_create(
        self,
        context: extension.Context,
        backup_id: str,
        parent: dict[str, Any] | None = None,
        storage: str = '',
        target: dict[str, Any] | None = None,
        encryption_key: str = '',
    ) -> dict[str, Any]:
        """Make a backup of the running server (doc/datastore.rst).

        :param parent: the result of the backup that it follows; ``None``: full.
        :raises guestagent.errors.GuestError: it failed; nothing of it stays.
        """
        place = self._place(storage, target, self.conf.backup_container)
        with self.backing_up(backup_id, context) as turn:
            return self.backups.create(
                self.engine, backup_id, parent, place, encryption_key, context, turn
            )

    @extension.command(mutates=True, timeout=None, sensitive=_SECRET)
    def backup_restore(
        self,
        context: extension.Context,
        location: str,
        checksum: str = '',
        storage: str = '',
        target: dict[str, Any] | None = None,
        encryption_key: str = '',
    ) -> None:
        """Replace the server's data by a backup and those that it follows.

        :raises guestagent.errors.GuestError: it failed, and the server is as it was;
            unless the volume has no room for both (doc/datastore.rst).
        """
        place = self._place(storage, target, self.conf.backup_container)
        source = Source(location, checksum, place, encryption_key)
        with self.changing('backup_restore', context):
            self.restore(source, context)

    @extension.command(
        mutates=True, timeout=None, repeatable=True, sensitive=('target',)
    )
    def backup_delete(
        self,
        context: extension.Context,
        location: str,
        storage: str = '',
        target: dict[str, Any] | None = None,
    ) -> None:
        """Remove a backup from its storage; none there is none removed."""
        place = self._place(storage, target, self.conf.backup_container)
        self.backups.delete(location, place, context)

    @extension.command(mutates=False, timeout=120, sensitive=('target',))
    def log_show(
        self,
        context: extension.Context,
        storage: str = '',
        target: dict[str, Any] | None = None,
        prefix: str = '',
    ) -> list[dict[str, Any]]:
        """Return how much of each log is published (doc/datastore.rst)."""
        return self._logs('show', self.engine.logs(), prefix, storage, target, context)

    @extension.command(mutates=True, timeout=None, sensitive=('target',))
    def log_publish(
        self,
        context: extension.Context,
        name: str,
        storage: str = '',
        target: dict[str, Any] | None = None,
        prefix: str = '',
    ) -> dict[str, Any]:
        """Store what is new in a log, in parts.

        :raises guestagent.errors.InvalidArgument: there is no such log.
        """
        return self._log('publish', name, prefix, storage, target, context)

    @extension.command(mutates=True, timeout=None, sensitive=('target',))
    def log_discard(
        self,
        context: extension.Context,
        name: str,
        storage: str = '',
        target: dict[str, Any] | None = None,
        prefix: str = '',
    ) -> dict[str, Any]:
        """Remove what was published of a log; the file stays.

        :raises guestagent.errors.InvalidArgument: there is no such log.
        """
        return self._log('discard', name, prefix, storage, target, context)

    def source(self, given: Mapping[str, Any]) -> Source:
        """Return what is to be restored, from the arguments of ``backup_restore``.

        :raises guestagent.errors.InvalidArgument: they are not these.
        """
        texts = {'location', 'checksum', 'storage', 'encryption_key'}
        if (
            not given.get('location')
            or set(given) - texts - {'target'}
            or not all(isinstance(given.get(name, ''), str) for name in texts)
            or not isinstance(given.get('target', {}), dict)
        ):
            raise errors.InvalidArgument(
                f'restore: it takes location, and any of {", ".join(sorted(texts))} '
                f'and target'
            )
        place = self._place(
            given.get('storage', ''), given.get('target'), self.conf.backup_container
        )
        return Source(
            given['location'],
            given.get('checksum', ''),
            place,
            given.get('encryption_key', ''),
        )

    def restore(self, source: Source, context: extension.Context) -> None:
        """Replace the server's data by a chain of backups, and have it serve.

        :raises guestagent.errors.StorageError: one is not there, or another; nothing
            has changed.
        :raises guestagent.errors.GuestError: as of :meth:`replacing`.
        """
        links = self.backups.chain(
            self.engine, source.location, source.checksum, source.place, context
        )
        with self.replacing(chains.size(links), context):
            self.backups.restore(self.engine, links, source.place, source.key, context)

    def _log(
        self,
        action: str,
        name: str,
        prefix: str,
        storage: str,
        target: dict[str, Any] | None,
        context: extension.Context,
    ) -> dict[str, Any]:
        logs = {log.name: log for log in self.engine.logs()}
        if name not in logs:
            raise errors.InvalidArgument(
                f'name: {name!r} is not one of {", ".join(sorted(logs))}'
            )
        [found] = self._logs(action, [logs[name]], prefix, storage, target, context)
        return found

    def _logs(
        self,
        action: str,
        logs: list[models.Log],
        prefix: str,
        storage: str,
        target: dict[str, Any] | None,
        context: extension.Context,
    ) -> list[dict[str, Any]]:
        place = self._place(storage, target, self.conf.log_container)
        prefix = prefix or f'{socket.gethostname()}/{self.engine.name}-'
        return self.backups.logs(action, logs, prefix, place, context)

    def _place(
        self, storage: str, target: dict[str, Any] | None, container: str
    ) -> storages.Target:
        return targets.make(self.conf, storage, target or {}, container)
