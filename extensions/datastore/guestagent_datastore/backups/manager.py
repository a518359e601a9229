# SPDX-License-Identifier: Apache-2.0
"""What becomes of a request for a backup, a restore, or a log: the agent's side.

Whatever touches a storage or the stream is done by a child process; here stand the
order of things, the chain of incremental backups, and what must be known after a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import engine as engines
from guestagent_datastore import models, transfer
from guestagent_datastore.backups import chain as chains
from guestagent_datastore.backups import child, folders, forms, targets, unfinished
from guestagent_datastore.storage import base

LOG = logging.getLogger(__name__)

#: Gives a backup a turn among the changes that go on beside it.
Turn = Callable[[], contextlib.AbstractContextManager[None]]

#: What the worker says of a backup that its caller is told, too.
_RESULT = ('location', 'checksum', 'size', 'stream_size', 'metadata')
_ID = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]{0,127}')


class Manager:
    """Makes backups, restores them, and publishes logs.

    :param conf: the section [datastore].
    :param state: a folder for what must outlive the agent.
    """

    def __init__(self, conf: Any, state: pathlib.Path) -> None:
        self._conf = conf
        self._unfinished = unfinished.Records(state / 'backups')
        self._folders = folders.Folders()

    # --- backups ----------------------------------------------------------------

    def create(
        self,
        engine: engines.Engine,
        backup_id: str,
        parent: Mapping[str, Any] | None,
        target: base.Target,
        key: str,
        context: extension.Context,
        turn: Turn = contextlib.nullcontext,
    ) -> dict[str, Any]:
        """Make a backup of the running server; return the result of ``backup_create``.

        :param parent: ``{location, checksum}`` of the one before; ``None``: full.
        :param key: 64 hexadecimal digits; ``''``: that of the options.
        :param turn: entered where nothing may be changed beside it.
        :raises guestagent.errors.GuestError: it failed; nothing of it is left, or what
            is left is removed before the next backup there.
        """
        if not _ID.fullmatch(backup_id):
            raise errors.InvalidArgument(
                f'backup_id: {backup_id!r}: letters, digits, - and _ only'
            )
        self._sweep(target, context)
        before = self._parent(parent, engine, target, context)
        with self._folders.work(engine) as work:
            with turn():
                backup = engine.backup(before.metadata if before else None, work)
            with backup:
                stored = self._store(
                    self._request(backup, backup_id, target, key),
                    target,
                    backup_id,
                    lambda: _metadata(engine, backup, before, turn),
                    context,
                )
        return {
            **{name: stored[name] for name in _RESULT},
            'backup_id': backup_id,
            'type': 'incremental' if before else 'full',
            'parent': before.location if before else None,
        }

    def _request(
        self, backup: transfer.Backup, backup_id: str, target: base.Target, key: str
    ) -> dict[str, Any]:
        """Return what a worker is told to make."""
        return {
            'op': 'backup',
            'target': dataclasses.asdict(target),
            'name': f'{backup_id}.{backup.form}{self._end(key)}',
            'level': self._conf.backup_level,
            'estimate': backup.estimate,
            **_plain(backup.command),
            **self._keys(key),
        }

    def _store(
        self,
        request: Mapping[str, Any],
        target: base.Target,
        backup_id: str,
        metadata: Callable[[], Mapping[str, str]],
        context: extension.Context,
    ) -> dict[str, Any]:
        """Have a worker make it; what it leaves is known also after a crash."""
        record = unfinished.Unfinished(
            backup_id,
            request['name'],
            target.storage,
            target.url,
            target.container,
            time.time(),
            context.command_id,
        )
        self._unfinished.keep(record)
        try:
            stored: dict[str, Any] = child.run(
                request,
                context,
                progress=lambda done, of: _report(context, 'written', done, of),
                metadata=metadata,
            )
        except child.Failed as failed:
            self._ended(record, failed.left)
            context.check()
            raise failed.error from None
        self._unfinished.forget(record.backup_id)
        return stored

    def _ended(self, record: unfinished.Unfinished, left: bool) -> None:
        if left:
            self._unfinished.keep(dataclasses.replace(record, failed=True))
        else:
            self._unfinished.forget(record.backup_id)

    def delete(
        self, location: str, target: base.Target, context: extension.Context
    ) -> None:
        """Remove a backup from its storage; none there is none removed."""
        self._ask({'op': 'delete', 'location': location}, target, context)

    # --- after a crash ----------------------------------------------------------

    def interrupted(self) -> list[unfinished.Unfinished]:
        """Return the backups that an agent before this one did not get done.

        To be asked once, before the first backup.  Each is returned once, as nobody has
        been told of it; what it left is removed where no token is needed, else before
        the next backup there.
        """
        found = [record for record in self._unfinished.all() if not record.failed]
        for record in found:
            self._unfinished.keep(dataclasses.replace(record, failed=True))
        return found

    def tidy(self, engine: engines.Engine, context: extension.Context) -> None:
        """Remove what was left on the volume, and in the folder of the storage file.

        :raises guestagent.errors.GuestError: that cannot be, now.
        """
        self._folders.tidy(engine)
        conf = self._conf
        for record in self._unfinished.all():
            if (
                record.failed
                and record.storage == 'file'
                and record.url == conf.backup_folder
            ):
                given = {'container': record.container}
                self._sweep(targets.make(conf, 'file', given, ''), context)

    def _sweep(self, target: base.Target, context: extension.Context) -> None:
        place = (target.storage, target.url, target.container)
        found = {
            record.name: record.backup_id
            for record in self._unfinished.all()
            if record.failed and (record.storage, record.url, record.container) == place
        }
        if not found:
            return
        swept = self._ask({'op': 'sweep', 'names': list(found)}, target, context)
        for name, count in swept.items():
            LOG.info('%s: removed %d parts that a failed backup had left', name, count)
            self._unfinished.forget(found[name])

    # --- restoring --------------------------------------------------------------

    def chain(
        self,
        engine: engines.Engine,
        location: str,
        checksum: str,
        target: base.Target,
        context: extension.Context,
    ) -> list[chains.Link]:
        """Return a backup and those that it follows, the full one first.

        :raises guestagent.errors.InvalidArgument: they are of another engine.
        :raises guestagent.errors.StorageError: one of them is not there, or not what
            the one after it says.
        """
        found: list[chains.Link] = []
        while location:
            if len(found) == chains.LONGEST or location in [
                each.location for each in found
            ]:
                raise errors.StorageError(f'{location}: it follows itself')
            stored = self._describe(location, checksum, target, context)
            metadata = dict(stored['metadata'])
            found.append(
                chains.Link(location, stored['checksum'], metadata, stored['size'])
            )
            chains.check_engine(found[-1], engine)
            location = metadata.get('parent_location', '')
            checksum = metadata.get('parent_checksum', '')
        return found[::-1]

    def restore(
        self,
        engine: engines.Engine,
        links: Sequence[chains.Link],
        target: base.Target,
        key: str,
        context: extension.Context,
    ) -> None:
        """Fill the empty data folder of the stopped server from a :meth:`chain`.

        :raises guestagent.errors.GuestError: it failed, and the folder is empty again.
        """
        with self._folders.work(engine) as work, engine.restore(work) as restore:
            for number, link in enumerate(links, 1):
                what = f'read, {number} of {len(links)}'
                self._load(restore, link, what, target, key, context)
            context.report_progress(None, 'making the data ready')
            restore.finish()

    def _load(
        self,
        restore: transfer.Restore,
        link: chains.Link,
        what: str,
        target: base.Target,
        key: str,
        context: extension.Context,
    ) -> None:
        request = {
            'op': 'restore',
            'target': dataclasses.asdict(target),
            'location': link.location,
            'checksum': link.checksum,
            **_plain(restore.part(link.metadata)),
            **self._keys(key),
        }
        try:
            child.run(
                request,
                context,
                progress=lambda done, of: _report(context, what, done, of),
                # Nothing may write there any more when the next agent looks.
                marked=True,
            )
        except child.Failed as failed:
            context.check()
            raise failed.error from None
        restore.part_done(context)
        context.check()

    # --- logs -------------------------------------------------------------------

    def logs(
        self,
        action: str,
        logs: Sequence[models.Log],
        prefix: str,
        target: base.Target,
        context: extension.Context,
    ) -> list[dict[str, Any]]:
        """Show, publish or discard logs; each as ``log_publish`` returns it.

        :param prefix: the name of a log is put behind it.
        """
        request = {
            'op': 'log',
            'action': action,
            'limit': self._conf.log_part_size,
            'keep': self._conf.log_keep,
            'logs': [
                {
                    'name': log.name,
                    'kind': log.kind,
                    'path': str(log.path),
                    'prefix': prefix + log.name,
                }
                for log in logs
            ],
        }
        found: list[dict[str, Any]] = self._ask(request, target, context)
        return found

    # --- shared -----------------------------------------------------------------

    def _parent(
        self,
        parent: Mapping[str, Any] | None,
        engine: engines.Engine,
        target: base.Target,
        context: extension.Context,
    ) -> chains.Link | None:
        if not parent:
            return None
        location, checksum = parent.get('location'), parent.get('checksum') or ''
        if not isinstance(location, str) or not isinstance(checksum, str):
            raise errors.InvalidArgument('parent: it must have location and checksum')
        stored = self._describe(location, checksum, target, context)
        link = chains.Link(
            location, stored['checksum'], stored['metadata'], stored['size']
        )
        chains.check_engine(link, engine)
        return link

    def _describe(
        self,
        location: str,
        checksum: str,
        target: base.Target,
        context: extension.Context,
    ) -> dict[str, Any]:
        request = {'op': 'describe', 'location': location, 'checksum': checksum}
        found: dict[str, Any] = self._ask(request, target, context)
        return found

    def _ask(
        self,
        request: Mapping[str, Any],
        target: base.Target,
        context: extension.Context,
    ) -> Any:
        try:
            return child.run({**request, 'target': dataclasses.asdict(target)}, context)
        except child.Failed as failed:
            context.check()
            raise failed.error from None

    def _end(self, key: str) -> str:
        sealed = bool(key or self._conf.backup_key_file)
        return forms.Wrapping(self._conf.backup_compression, sealed).end

    def _keys(self, key: str) -> dict[str, str]:
        return {'key': key, 'key_file': self._conf.backup_key_file}


def _metadata(
    engine: engines.Engine,
    backup: transfer.Backup,
    before: chains.Link | None,
    turn: Turn,
) -> dict[str, str]:
    """Return what is kept with a backup that is whole."""
    with turn():
        found = {**backup.metadata(), 'engine': engine.name}
    if backup.estimate:
        found[chains.SIZE] = str(backup.estimate)
    if before is not None:
        found['parent_location'] = before.location
        found['parent_checksum'] = before.checksum
    # Swift keeps no empty ones.
    return {name: value for name, value in found.items() if value}


def _plain(command: models.Command) -> dict[str, Any]:
    return {
        'command': {
            'argv': list(command.argv),
            'environment': dict(command.environment),
            'folder': str(command.folder),
            'user': command.user,
        }
    }


def _report(context: extension.Context, what: str, done: int, of: int) -> None:
    """Say how far it is; an estimate that was too low says 99 %, not more."""
    percent = min(99.0, 100.0 * done / of) if of else None
    context.report_progress(percent, f'{done / 1024**2:.0f} MiB {what}')
