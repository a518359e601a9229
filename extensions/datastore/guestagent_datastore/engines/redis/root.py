# SPDX-License-Identifier: Apache-2.0
"""Root: the account ``default``, which is closed at first; it makes others itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines.redis import server


class Root(server.Server):
    """What has to do with accounts."""

    def create_databases(self, databases: Sequence[models.Database]) -> None:
        """Make none: Redis has numbers for them."""
        if databases:
            self.unsupported('databases')

    def create_users(self, users: Sequence[models.User]) -> None:
        """Make none: root makes them itself."""
        if users:
            self.unsupported('users')

    def enable_root(self, password: str) -> models.Root:
        """Open the account with this password alone."""
        if not password:
            raise errors.InvalidArgument('password: it is empty')
        try:
            digest = hashlib.sha256(password.encode()).hexdigest()
        except UnicodeEncodeError:
            raise errors.InvalidArgument('password: it is no valid Unicode') from None
        self._set(f'on resetpass #{digest} ~* &* +@all'.split(), digest)
        return models.Root(self.root_name, password)

    def disable_root(self) -> None:
        """Close it, and end its connections."""
        self._set(['off', 'resetpass'], '')
        # Nobody who connects from now on can be root.
        for line in self.client.run('CLIENT', 'LIST').splitlines():
            found = dict(field.partition('=')[::2] for field in line.split(' '))
            if found['user'] == self.root_name and not _is_ours_and_new(found):
                words = ('ID', found['id'], 'USER', self.root_name)
                self.client.run('CLIENT', 'KILL', *words)

    def root_enabled(self) -> bool:
        """Whether somebody could log in by it."""
        found = self.client.run('ACL', 'GETUSER', self.root_name)
        fields = dict(zip(found[::2], found[1::2], strict=True))
        return 'on' in fields['flags'] and bool(
            fields['passwords'] or 'nopass' in fields['flags']
        )

    def _set(self, rules: list[str], digest: str) -> None:
        self.client.run('ACL', 'SETUSER', self.root_name, *rules)
        self.client.run('ACL', 'SAVE')
        state = self.recall()
        state.root = digest
        self.keep(state)


def _is_ours_and_new(client: Mapping[str, str]) -> bool:
    """Whether it is on our own socket and has said nothing yet.

    Redis takes each connection for the one of this account until it says who it is: as
    the program does a moment later that makes a backup.
    """
    return 'U' in client['flags'] and client['cmd'] == 'NULL'
