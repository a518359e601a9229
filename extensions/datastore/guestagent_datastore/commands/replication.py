# SPDX-License-Identifier: Apache-2.0
"""Sources and replicas."""

from __future__ import annotations

import time
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import base, certificates, models

#: The fields of a source with their types, and what those are that may be left out.
_SOURCE: dict[str, type] = {
    'host': str,
    'port': int,
    'user': str,
    'password': str,
    'position': str,
    'slot': str,
    'tls': bool,
    'ca': str,
}
_DEFAULTS = {'position': '', 'slot': '', 'tls': False, 'ca': ''}

#: The longest wait for a transaction, in seconds.
WAIT_MAX = 86400.0
#: Seconds between two looks whether anybody still waits.
STEP = 1.0


class Replication(base.Base):
    """Attaches, detaches, promotes, demotes and tells how it goes."""

    @extension.command(mutates=False, timeout=15)
    def replication_show(self, context: extension.Context) -> dict[str, Any]:
        """Return role, lag and position (doc/datastore.rst)."""
        return base.plain(self.engine.replication())

    @extension.command(mutates=False, timeout=15)
    def replication_needs_backup(self, context: extension.Context) -> dict[str, bool]:
        """Return whether a replica begins with a backup of its source."""
        return {'required': self.engine.backup_for_replica}

    @extension.command(mutates=True, timeout=None, repeatable=True)
    def replication_enable(self, context: extension.Context) -> dict[str, Any]:
        """Be a source; the server is started again if it must be."""
        with self.changing('replication_enable', context):
            self._enable(context)
            return base.plain(self.engine.replication())

    @extension.command(mutates=True, timeout=60, sensitive=('return',))
    def replication_account(self, context: extension.Context) -> dict[str, Any]:
        """Make an account for one more replica; what ``replication_attach`` takes.

        :returns: ``{host, port, user, password, position, slot, tls, ca}``; no
            ``host``.
        """
        with self.changing('replication_account', context, beside_backup=True):
            return base.plain(self.engine.replication_account())

    @extension.command(mutates=True, timeout=None, sensitive=('source',))
    def replication_attach(
        self, context: extension.Context, source: dict[str, Any]
    ) -> dict[str, Any]:
        """Follow a source, whose restored backup this server has, or all its data.

        :raises guestagent.errors.GuestError: the source refuses, or does not answer.
        """
        given = source_of(source)
        with self.changing('replication_attach', context):
            self.follow(given, context)
            return base.plain(self.engine.replication())

    @extension.command(mutates=True, timeout=300)
    def replication_detach(
        self, context: extension.Context, for_failover: bool = False
    ) -> dict[str, Any]:
        """Follow no more, and take writes; returns what ``replication_cleanup`` takes.

        :param for_failover: first apply all that was received.
        """
        with self.changing('replication_detach', context):
            return self.engine.detach(for_failover)

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def replication_cleanup(
        self, context: extension.Context, info: dict[str, Any]
    ) -> None:
        """Remove what a source has kept for a replica that was detached."""
        with self.changing('replication_cleanup', context, beside_backup=True):
            self.engine.forget_replica(info)

    @extension.command(mutates=True, timeout=120, repeatable=True)
    def replication_demote(self, context: extension.Context) -> None:
        """Be no source any more: no writes, no accounts of replicas."""
        with self.changing('replication_demote', context, beside_backup=True):
            self.engine.demote()

    @extension.command(mutates=True, timeout=None)
    def replication_promote(self, context: extension.Context) -> dict[str, Any]:
        """Apply all that was received, follow no more, and be a source.

        :returns: what ``replication_cleanup`` takes at the old source.
        """
        with self.changing('replication_promote', context):
            info = self.engine.detach(True)
            self._enable(context)
            return info

    @extension.command(mutates=True, timeout=120, repeatable=True)
    def read_only(self, context: extension.Context, read_only: bool) -> None:
        """Refuse writes of all but root, also after a restart; or take them again."""
        with self.changing('read_only', context, beside_backup=True):
            self.engine.set_read_only(read_only)

    @extension.command(mutates=False, timeout=15)
    def transaction_last(self, context: extension.Context) -> dict[str, Any]:
        """Return the last transaction that is here: ``{source, number}``."""
        return base.plain(self.engine.last_transaction())

    @extension.command(mutates=False, timeout=15)
    def transaction_position(self, context: extension.Context) -> dict[str, str]:
        """Return ``{position}``, what ``transaction_wait`` of a replica takes."""
        return {'position': self.engine.position()}

    @extension.command(mutates=False, timeout=None)
    def transaction_wait(
        self, context: extension.Context, position: str, seconds: float = 120
    ) -> None:
        """Wait until a replica has applied all up to ``position``.

        :raises guestagent.errors.CommandTimeout: it has not, in this time.
        """
        if not 0 <= seconds <= WAIT_MAX:
            raise errors.InvalidArgument(
                f'seconds: {seconds:g} is not 0 to {WAIT_MAX:g}'
            )
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            try:
                # In small steps: somebody may cancel it.
                self.engine.wait_for(position, max(0.0, min(left, STEP)))
            except errors.CommandTimeout:
                if left <= STEP:
                    raise errors.CommandTimeout(
                        f'{position} was not applied within {seconds:g} s'
                    ) from None
                context.check()
            else:
                return

    def follow(self, source: models.Source, context: extension.Context) -> None:
        """Follow a source; the server is started again if it must be."""
        if not self.engine.attach_stopped:
            self._enable(context)
            self.engine.attach(source, context)
            return
        self.control.pause(context)
        try:
            self.engine.attach(source, context)
        except errors.GuestAgentError:
            # As it was, also for who waits no more.
            self.control.start()
            raise
        self.control.start(context)

    def _enable(self, context: extension.Context) -> None:
        if self.engine.enable_source():
            self.control.restart(context)


def source_of(given: dict[str, Any]) -> models.Source:
    """Return a source as it was given.

    :raises guestagent.errors.InvalidArgument: something is missing or of another type.
    """
    found: dict[str, Any] = _DEFAULTS | given
    for name, kind in _SOURCE.items():
        if not isinstance(found.get(name), kind):
            raise errors.InvalidArgument(f'source: {name} is missing, or of no use')
    if len(found) != len(_SOURCE) or not found['host']:
        raise errors.InvalidArgument(
            f'source: its fields are {", ".join(_SOURCE)}, and host must not be empty'
        )
    if found['ca']:
        certificates.check_ca(found['ca'])
    return models.Source(**found)
