# SPDX-License-Identifier: Apache-2.0
"""Databases, users, grants and root."""

from __future__ import annotations

from typing import Any

from guestagent import errors, extension
from guestagent_trove import base, shapes


class Accounts(base.Base):
    """What is in the server, and who may use it."""

    @extension.command(mutates=True, timeout=180)
    def create_database(
        self, context: extension.Context, databases: list[dict[str, Any]]
    ) -> None:
        """Make databases."""
        with self.telling(context):
            made = [shapes.database_in(item) for item in databases]
            self.ask('database_create', context, databases=made)

    @extension.command(mutates=False, timeout=15)
    def list_databases(
        self,
        context: extension.Context,
        limit: int | None = None,
        marker: str | None = None,
        include_marker: bool = False,
    ) -> list[Any]:
        """Return ``[databases, next marker]``."""
        asked = {'limit': limit, 'marker': marker, 'include_marker': include_marker}
        page = self.ask('database_list', context, **asked)
        return shapes.page_out(page, shapes.database_out)

    @extension.command(mutates=True, timeout=180)
    def delete_database(
        self, context: extension.Context, database: dict[str, Any]
    ) -> None:
        """Delete a database."""
        with self.telling(context):
            name = shapes.database_in(database)['name']
            self.ask('database_delete', context, name=name)

    @extension.command(mutates=True, timeout=180, sensitive=('users',))
    def create_user(
        self, context: extension.Context, users: list[dict[str, Any]]
    ) -> None:
        """Make users with their databases."""
        with self.telling(context):
            made = [shapes.user_in(item) for item in users]
            self.ask('user_create', context, users=made)

    @extension.command(mutates=False, timeout=180)
    def list_users(
        self,
        context: extension.Context,
        limit: int | None = None,
        marker: str | None = None,
        include_marker: bool = False,
    ) -> list[Any]:
        """Return ``[users, next marker]``."""
        asked = {'limit': limit, 'marker': marker, 'include_marker': include_marker}
        page = self.ask('user_list', context, **asked)
        return shapes.page_out(page, shapes.user_out)

    @extension.command(mutates=False, timeout=15)
    def get_user(
        self, context: extension.Context, username: str, hostname: str | None
    ) -> dict[str, Any] | None:
        """Return a user, or null."""
        found = self.ask('user_get', context, name=username, host=hostname or '%')
        return None if found is None else shapes.user_out(found)

    @extension.command(mutates=True, timeout=180, sensitive=('user',))
    def delete_user(self, context: extension.Context, user: dict[str, Any]) -> None:
        """Delete a user."""
        with self.telling(context):
            who = shapes.user_in(user)
            self.ask(
                'user_delete', context, name=who['name'], host=who.get('host', '%')
            )

    @extension.command(mutates=True, timeout=180, sensitive=('users',))
    def change_passwords(
        self, context: extension.Context, users: list[dict[str, Any]]
    ) -> None:
        """Give users other passwords, ``[{name, host, password}]``."""
        with self.telling(context):
            changed = [shapes.plain_user_in(item) for item in users]
            self.ask('user_passwords', context, users=changed)

    @extension.command(mutates=True, timeout=180, sensitive=('user_attrs',))
    def update_attributes(
        self,
        context: extension.Context,
        username: str,
        hostname: str | None,
        user_attrs: dict[str, Any],
    ) -> None:
        """Change any of a user's ``name``, ``host`` and ``password``."""
        with self.telling(context):
            changes = shapes.plain_user_in(user_attrs)
            if changes:
                self.ask(
                    'user_update',
                    context,
                    name=username,
                    host=hostname or '%',
                    changes=changes,
                )

    @extension.command(mutates=True, timeout=180)
    def grant_access(
        self,
        context: extension.Context,
        username: str,
        hostname: str | None,
        databases: list[str],
    ) -> None:
        """Give a user all rights in databases."""
        self.ask(
            'access_grant',
            context,
            name=username,
            host=hostname or '%',
            databases=databases,
        )

    @extension.command(mutates=True, timeout=180)
    def revoke_access(
        self,
        context: extension.Context,
        username: str,
        hostname: str | None,
        database: str,
    ) -> None:
        """Take a user's rights in a database away."""
        self.ask(
            'access_revoke',
            context,
            name=username,
            host=hostname or '%',
            database=database,
        )

    @extension.command(mutates=False, timeout=15)
    def list_access(
        self, context: extension.Context, username: str, hostname: str | None
    ) -> list[dict[str, Any]]:
        """Return the databases that a user may use."""
        names = self.ask('access_list', context, name=username, host=hostname or '%')
        if names is None:
            raise errors.InvalidArgument(f'there is no user {username}@{hostname}')
        return [shapes.database_out({'name': name}) for name in names]

    @extension.command(mutates=True, timeout=180, sensitive=('return',))
    def enable_root(self, context: extension.Context) -> dict[str, Any]:
        """Let root log in from everywhere; return it with a new password."""
        return shapes.root_out(self.ask('root_enable', context))

    @extension.command(mutates=True, timeout=180, sensitive=('root_password', 'return'))
    def enable_root_with_password(
        self, context: extension.Context, root_password: str | None = None
    ) -> dict[str, Any]:
        """Let root log in from everywhere, with this password."""
        return shapes.root_out(
            self.ask('root_enable', context, password=root_password or None)
        )

    @extension.command(mutates=True, timeout=180)
    def disable_root(self, context: extension.Context) -> None:
        """Let root log in no more; ``is_root_enabled`` says so."""
        self.ask('root_disable', context)

    @extension.command(mutates=False, timeout=15)
    def is_root_enabled(self, context: extension.Context) -> bool:
        """Return whether root can log in, told by the server."""
        return bool(self.ask('root_status', context)['enabled'])

    @extension.command(mutates=False, timeout=180, sensitive=('return',))
    def get_root_password(self, context: extension.Context) -> str:
        """Return the password that root was given."""
        return str(self.ask('root_password', context)['password'])
