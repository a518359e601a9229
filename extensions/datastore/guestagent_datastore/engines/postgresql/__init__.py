# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL."""

from __future__ import annotations

from guestagent_datastore.engines.postgresql import (
    backups,
    client,
    hba,
    logs,
    replica,
    root,
    settings,
    tls,
    users,
)


class PostgreSQL(
    users.Users,
    root.Root,
    settings.Settings,
    backups.Backups,
    replica.Replica,
    logs.Logs,
    tls.Tls,
):
    """A PostgreSQL server, from the system's packages."""

    name = 'postgresql'
    packages = ('postgresql',)
    user = 'postgres'
    port = 5432
    units = ('postgresql.service',)
    stop_signal = 'SIGINT'
    backup_for_replica = False
    attach_stopped = True
    root_name = client.BOOTSTRAP
    reserved_users = frozenset((client.ADMIN, client.BOOTSTRAP, hba.REPLICATOR))
    reserved_databases = frozenset(('postgres', 'template0', 'template1'))
