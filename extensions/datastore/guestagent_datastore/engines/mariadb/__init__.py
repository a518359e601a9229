# SPDX-License-Identifier: Apache-2.0
"""MariaDB."""

from __future__ import annotations

from guestagent_datastore.engines.mariadb import (
    backup,
    config,
    logs,
    replication,
    users,
)


class MariaDB(
    users.Users, config.Config, replication.Replication, logs.Logs, backup.Backups
):
    """A MariaDB server, from the system's packages."""

    name = 'mariadb'
    packages = ('mariadb-server', 'mariadb-backup')
    user = 'mysql'
    port = 3306
    units = ('mariadb.socket', 'mariadb.service')
    # Its tool loses the log that the server begins anew.
    spoils_backup = frozenset(('innodb_log_file_size',))
