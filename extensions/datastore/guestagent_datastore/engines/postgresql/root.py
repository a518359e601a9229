# SPDX-License-Identifier: Apache-2.0
"""The account of an operator of the database: the superuser ``postgres``.

Without a password nobody gets in by it over the network: that is its usual state.
"""

from __future__ import annotations

from guestagent_datastore import models
from guestagent_datastore.engines.postgresql import client, names, server


class Root(server.Server):
    """What has to do with root."""

    def enable_root(self, password: str) -> models.Root:
        """Give the superuser a password."""
        names.check_password(password)
        name = client.BOOTSTRAP
        with self.client.session() as session:
            session.query(
                'ALTER ROLE {} SUPERUSER LOGIN PASSWORD %s',
                [session.verifier(password, name)],
                [name],
            )
        return models.Root(name, password)

    def disable_root(self) -> None:
        """Take its password away, and end its sessions."""
        with self.client.session() as session:
            session.query('ALTER ROLE {} PASSWORD NULL', names=[client.BOOTSTRAP])
        self.terminate('usename = %s AND client_addr IS NOT NULL', client.BOOTSTRAP)

    def root_enabled(self) -> bool:
        """Whether it has a password."""
        return bool(
            self.client.value(
                'SELECT rolcanlogin AND rolpassword IS NOT NULL FROM pg_authid '
                'WHERE rolname = %s',
                [client.BOOTSTRAP],
            )
        )
