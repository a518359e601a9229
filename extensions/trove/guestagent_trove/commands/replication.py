# SPDX-License-Identifier: Apache-2.0
"""Replicas and their source."""

from __future__ import annotations

from typing import Any

from guestagent import errors, extension
from guestagent_trove import shapes
from guestagent_trove.commands import backups


class Replication(backups.Backups):
    """What Trove's replication needs."""

    @extension.command(mutates=False, timeout=15)
    def backup_required_for_replication(self, context: extension.Context) -> bool:
        """Return whether a replica begins with a backup of its source."""
        return bool(self.ask('replication_needs_backup', context)['required'])

    @extension.command(
        mutates=True, timeout=1800, sensitive=('snapshot_info', 'return')
    )
    def get_replication_snapshot(
        self,
        context: extension.Context,
        snapshot_info: dict[str, Any] | None,
        replica_source_config: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make what a new replica begins with; return what it needs to know."""
        info = snapshot_info or {}
        self.ask('replication_enable', context)
        if info.get('id') and self.storage(info) != 'cinder':
            self.back_up(context, info)
        stats = shapes.stats_out(self.ask('volume_stats', context))
        return {
            'dataset': {
                'datastore_manager': self.conf.datastore_manager,
                'dataset_size': stats['used'],
                'volume_size': stats['total'],
                'snapshot_id': info.get('id'),
            },
            'replication_strategy': self.conf.replication_strategy,
            **self.replica_conf(context),
        }

    @extension.command(
        mutates=True, timeout=180, sensitive=('replica_info', 'slave_config')
    )
    def attach_replica(
        self,
        context: extension.Context,
        replica_info: dict[str, Any],
        slave_config: Any = None,
        restart: bool = False,
    ) -> None:
        """Follow a source."""
        self._attach(context, replica_info, restart)

    @extension.command(
        mutates=True, timeout=180, sensitive=('snapshot', 'slave_config')
    )
    def attach_replication_slave(
        self,
        context: extension.Context,
        snapshot: dict[str, Any],
        slave_config: Any = None,
    ) -> None:
        """Follow a source; the older name of ``attach_replica``, a cast."""
        self._attach(context, snapshot, False)

    @extension.command(mutates=True, timeout=180, sensitive=('return',))
    def detach_replica(
        self, context: extension.Context, for_failover: bool = False
    ) -> dict[str, Any]:
        """Follow no more; return what the source may clean up."""
        found: dict[str, Any] = self.ask(
            'replication_detach', context, for_failover=for_failover
        )
        return found

    @extension.command(mutates=True, timeout=180, sensitive=('return',))
    def get_replica_context(self, context: extension.Context) -> dict[str, Any]:
        """Return what a replica needs to know of this source."""
        return self.replica_conf(context)

    @extension.command(mutates=True, timeout=180, sensitive=('replica_info',))
    def cleanup_source_on_replica_detach(
        self, context: extension.Context, replica_info: dict[str, Any]
    ) -> None:
        """Remove what the source has kept for a replica that is detached."""
        self.ask('replication_cleanup', context, info=replica_info)

    @extension.command(mutates=True, timeout=180, sensitive=('replica_source_config',))
    def enable_as_master(
        self, context: extension.Context, replica_source_config: Any = None
    ) -> None:
        """Be a source."""
        self.ask('replication_enable', context)

    @extension.command(mutates=True, timeout=180)
    def demote_replication_master(self, context: extension.Context) -> None:
        """Be no source any more."""
        self.ask('replication_demote', context)

    @extension.command(mutates=True, timeout=180)
    def make_read_only(self, context: extension.Context, read_only: bool) -> None:
        """Take no writes, or take them again."""
        self.ask('read_only', context, read_only=read_only)

    @extension.command(mutates=False, timeout=180)
    def get_txn_count(self, context: extension.Context) -> int:
        """Return how many transactions are here."""
        return int(self.ask('transaction_last', context)['number'])

    @extension.command(mutates=False, timeout=180)
    def get_last_txn(self, context: extension.Context) -> list[Any]:
        """Return ``[source's id, number]``: the most up to date replica has most."""
        found = self.ask('transaction_last', context)
        return [found['source'], found['number']]

    @extension.command(mutates=False, timeout=180)
    def get_latest_txn_id(self, context: extension.Context) -> str:
        """Return how far this server is, for ``wait_for_txn`` of another."""
        return str(self.ask('transaction_position', context)['position'])

    @extension.command(mutates=False, timeout=180)
    def wait_for_txn(self, context: extension.Context, txn: str) -> None:
        """Wait until this replica is that far."""
        remaining = context.remaining()
        seconds = 120.0 if remaining is None else max(1.0, remaining - 5)
        self.ask('transaction_wait', context, position=txn, seconds=seconds)

    def _attach(
        self, context: extension.Context, info: dict[str, Any], restart: bool
    ) -> None:
        dataset = info.get('dataset') or {}
        needed = dataset.get('dataset_size') or 0
        total = shapes.stats_out(self.ask('volume_stats', context))['total']
        if total < needed:
            raise errors.GuestError(
                f'the volume has {total} GB; the data of the source take {needed} GB'
            )
        self.ask('replication_attach', context, source=self.source_of(info))
        if restart:
            self.ask('server_restart', context)
