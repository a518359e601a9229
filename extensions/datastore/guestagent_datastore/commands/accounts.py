# SPDX-License-Identifier: Apache-2.0
"""Databases, users, their rights, and root."""

from __future__ import annotations

import json
import pathlib
import secrets
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import base, files, models
from guestagent_datastore.commands import values

#: Bytes of chance in a password that is made here.
PASSWORD_BYTES = 24


class Accounts(base.Base):
    """Thin: values in, values out."""

    @extension.command(mutates=False, timeout=30)
    def database_list(
        self,
        context: extension.Context,
        limit: int | None = None,
        marker: str | None = None,
        include_marker: bool = False,
    ) -> dict[str, Any]:
        """Return databases by name, at most ``limit`` after ``marker``.

        :returns: ``{items, next_marker}``.
        """
        page = self.engine.list_databases(values.limit(limit), marker, include_marker)
        return base.plain(page)

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def database_create(
        self, context: extension.Context, databases: list[dict[str, Any]]
    ) -> None:
        """Make databases; those that are there stay as they are."""
        made = values.databases(databases)
        with self.changing('database_create', context, beside_backup=True):
            self.engine.create_databases(made)

    @extension.command(mutates=True, timeout=60)
    def database_delete(self, context: extension.Context, name: str) -> None:
        """Delete a database with all that is in it.

        :raises guestagent.errors.InvalidArgument: there is none of this name.
        """
        with self.changing('database_delete', context, beside_backup=True):
            self.engine.delete_database(name)

    @extension.command(mutates=False, timeout=30)
    def user_list(
        self,
        context: extension.Context,
        limit: int | None = None,
        marker: str | None = None,
        include_marker: bool = False,
    ) -> dict[str, Any]:
        """Return users by ``name@host``, at most ``limit`` after ``marker``.

        :returns: ``{items, next_marker}``.
        """
        page = self.engine.list_users(values.limit(limit), marker, include_marker)
        return {
            'items': [values.shown(user) for user in page.items],
            'next_marker': page.next_marker,
        }

    @extension.command(mutates=False, timeout=30)
    def user_get(
        self, context: extension.Context, name: str, host: str = '%'
    ) -> dict[str, Any] | None:
        """Return a user with its databases; null: there is none."""
        user = self.engine.get_user(name, host)
        return None if user is None else values.shown(user)

    @extension.command(mutates=True, timeout=60, repeatable=True, sensitive=('users',))
    def user_create(
        self, context: extension.Context, users: list[dict[str, Any]]
    ) -> None:
        """Make users with their passwords and their databases."""
        made = values.users(users)
        with self.changing('user_create', context, beside_backup=True):
            self.engine.create_users(made)

    @extension.command(mutates=True, timeout=60)
    def user_delete(
        self, context: extension.Context, name: str, host: str = '%'
    ) -> None:
        """Delete a user.

        :raises guestagent.errors.InvalidArgument: there is none of this name.
        """
        with self.changing('user_delete', context, beside_backup=True):
            self.engine.delete_user(name, host)

    @extension.command(mutates=True, timeout=60, sensitive=('changes',))
    def user_update(
        self,
        context: extension.Context,
        name: str,
        host: str = '%',
        changes: dict[str, Any] | None = None,
    ) -> None:
        """Change a user's ``name``, ``host`` or ``password``; its rights stay.

        :raises guestagent.errors.InvalidArgument: there is no such user.
        """
        change = values.change(changes or {})
        with self.changing('user_update', context, beside_backup=True):
            self.engine.update_user(name, host, change)

    @extension.command(mutates=True, timeout=60, repeatable=True, sensitive=('users',))
    def user_passwords(
        self, context: extension.Context, users: list[dict[str, Any]]
    ) -> None:
        """Give users, ``{name, host, password}`` each, these passwords.

        :raises guestagent.errors.InvalidArgument: there is no such user.
        """
        wanted = values.users(users)
        with self.changing('user_passwords', context, beside_backup=True):
            for user in wanted:
                change = models.UserChange(password=user.password)
                self.engine.update_user(user.name, user.host, change)

    @extension.command(mutates=False, timeout=30)
    def access_list(
        self, context: extension.Context, name: str, host: str = '%'
    ) -> list[str] | None:
        """Return the names of a user's databases; null: there is no such user."""
        user = self.engine.get_user(name, host)
        return None if user is None else list(user.databases)

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def access_grant(
        self,
        context: extension.Context,
        name: str,
        databases: list[str],
        host: str = '%',
    ) -> None:
        """Let a user do everything in these databases.

        :raises guestagent.errors.InvalidArgument: there is no such user.
        """
        with self.changing('access_grant', context, beside_backup=True):
            self.engine.grant(name, host, databases)

    @extension.command(mutates=True, timeout=60)
    def access_revoke(
        self, context: extension.Context, name: str, database: str, host: str = '%'
    ) -> None:
        """Take a user's rights in a database away.

        :raises guestagent.errors.InvalidArgument: no such user, or no rights.
        """
        with self.changing('access_revoke', context, beside_backup=True):
            self.engine.revoke(name, host, database)

    @extension.command(mutates=True, timeout=60, sensitive=('password', 'return'))
    def root_enable(
        self, context: extension.Context, password: str | None = None
    ) -> dict[str, Any]:
        """Let root in from everywhere; a password is made if none is given.

        :returns: ``{name, host, password}``.
        """
        with self.changing('root_enable', context, beside_backup=True):
            return self.open_root(password)

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def root_disable(self, context: extension.Context) -> None:
        """Let nobody in as root any more."""
        with self.changing('root_disable', context, beside_backup=True):
            self.engine.disable_root()
            self._root_file.unlink(missing_ok=True)

    @extension.command(mutates=False, timeout=15)
    def root_status(self, context: extension.Context) -> dict[str, bool]:
        """Return whether somebody could come in as root, told by the server."""
        return {'enabled': self.engine.root_enabled()}

    @extension.command(mutates=False, timeout=15, sensitive=('return',))
    def root_password(self, context: extension.Context) -> dict[str, Any]:
        """Return root as ``root_enable`` has made it: ``{name, host, password}``.

        :raises guestagent.errors.GuestError: root is not enabled, or not by it.
        """
        text = files.read(self._root_file)
        if not text or not self.engine.root_enabled():
            raise errors.GuestError('root was not enabled by root_enable')
        kept: dict[str, Any] = json.loads(text)
        return kept

    def open_root(self, password: str | None) -> dict[str, Any]:
        """Enable root, and keep what was made, for the agent's user alone."""
        if password is None:
            password = secrets.token_urlsafe(PASSWORD_BYTES)
        root = base.plain(self.engine.enable_root(password))
        files.write(self._root_file, json.dumps(root), 0o600)
        return root

    @property
    def _root_file(self) -> pathlib.Path:
        return self.engine.place.state / 'root.json'
