# SPDX-License-Identifier: Apache-2.0
"""Redis."""

from __future__ import annotations

from guestagent_datastore.engines.redis import backups, root, settings


class Redis(settings.Settings, root.Root, backups.Backups):
    """A Redis server, from the system's packages: no databases, users or replicas."""

    name = 'redis'
    packages = ('redis-server',)
    user = 'redis'
    port = 6379
    units = ('redis-server.service',)
    root_name = 'default'
