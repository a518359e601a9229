# SPDX-License-Identifier: Apache-2.0
"""What Trove's conductor is told: status, backups, root, and how casts have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from guestagent_trove import sealing
from guestagent_trove import state as states

#: Of a caller's context, what the conductor may have: no token, no catalog.
CONTEXT_KEYS = (
    'user', 'user_id', 'tenant', 'project_id', 'domain_id', 'user_domain_id',
    'project_domain_id', 'request_id', 'is_admin', 'roles', 'trove_notification',
)  # fmt: skip

NOTIFICATION = 'trove_notification'

#: States of a backup that stays as it is.
ENDED = ('COMPLETED', 'FAILED')


class Send(Protocol):
    """What casts: :meth:`guestagent.extension.Extension.cast`."""

    def __call__(
        self,
        topic: str,
        method: str,
        args: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        latest: bool = False,
    ) -> None:
        """Cast."""


class Conductor:
    """Speaks to the conductor for one instance; from any thread.

    :param seal: ``None``: without secure RPC.
    """

    def __init__(
        self,
        send: Send,
        topic: str,
        instance: str,
        seal: sealing.Seal | None,
        state: states.State,
    ) -> None:
        self._send = send
        self._topic = topic
        self._instance = instance
        self._seal = seal
        self._state = state
        # Or a thread could overtake another between its stamp and its cast.
        self._lock = threading.Lock()

    def heartbeat(self, status: Callable[[], str | None]) -> None:
        """Tell the status; of these only the newest counts.

        :param status: returns Trove's description of it, or ``None``: say nothing.
        """
        with self._lock:
            found = status()
            if found is not None:
                payload = {'service_status': found}
                self._cast('heartbeat', {}, latest=True, stamped=True, payload=payload)

    def update_backup(self, backup: str, **fields: Any) -> None:
        """Tell what has become of a backup: any of ``state``, ``size`` (GB),
        ``location``, ``checksum``, ``backup_type``, ``success``; how it has ended is
        kept for :meth:`tell_again`.
        """
        with self._lock:
            self._update_backup(backup, fields)
            if fields.get('state') in ENDED:
                self._state.keep_backup(backup, fields)

    def tell_again(self) -> None:
        """Tell again, with some of the heartbeats, how the backups of late have ended.

        Trove's conductor does what comes to it at once in no order, and loses some of
        it.  Of what is told only this would never be put right.
        """
        with self._lock:
            for backup, fields in self._state.backups_to_tell().items():
                self._update_backup(backup, fields)

    def report_root(self) -> None:
        """Tell that root can log in."""
        with self._lock:
            self._cast('report_root', {})

    def notify_end(
        self, context: Mapping[str, Any], notification: Mapping[str, Any]
    ) -> None:
        """Tell that what a user asked for has been done."""
        with self._lock:
            self._cast(
                'notify_end',
                context,
                named=False,
                serialized_notification=dict(notification),
                notification_args={},
            )

    def notify_error(
        self,
        context: Mapping[str, Any],
        notification: Mapping[str, Any],
        message: str,
        trace: list[str],
    ) -> None:
        """Tell that it has failed."""
        serialized = {**notification, 'instance_id': self._instance}
        with self._lock:
            self._cast(
                'notify_exc_info',
                context,
                named=False,
                serialized_notification=serialized,
                message=message,
                exception=trace,
            )

    def _update_backup(self, backup: str, fields: Mapping[str, Any]) -> None:
        self._cast('update_backup', {}, stamped=True, backup_id=backup, **fields)

    def _cast(
        self,
        method: str,
        context: Mapping[str, Any],
        latest: bool = False,
        stamped: bool = False,
        named: bool = True,
        **args: Any,
    ) -> None:
        if named:
            args['instance_id'] = self._instance
        if stamped:
            args['sent'] = self._state.stamp(method)
        values = {key: context[key] for key in CONTEXT_KEYS if key in context}
        if self._seal is not None:
            args, values = self._seal.cast(args, values)
        self._send(self._topic, method, args, context=values, latest=latest)
