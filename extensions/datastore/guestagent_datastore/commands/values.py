# SPDX-License-Identifier: Apache-2.0
"""Arguments as values of ``models``: what does not fit is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guestagent import errors
from guestagent_datastore import models

#: The most items of one list.
LIMIT_MAX = 100_000


def limit(given: int | None) -> int | None:
    """Return how many items are asked for.

    :raises guestagent.errors.InvalidArgument: that is no number of items.
    """
    if given is not None and not 0 < given <= LIMIT_MAX:
        raise errors.InvalidArgument(f'limit: {given} is not 1 to {LIMIT_MAX}')
    return given


def databases(given: Sequence[Mapping[str, Any]]) -> list[models.Database]:
    """Return databases, ``{name, character_set, collate}`` each."""
    return [
        models.Database(**_fields('databases', item, ('name',), _DATABASE))
        for item in given
    ]


def users(given: Sequence[Mapping[str, Any]]) -> list[models.User]:
    """Return users, ``{name, host, password, databases}`` each, with passwords."""
    return [_user(item) for item in given]


def change(given: Mapping[str, Any]) -> models.UserChange:
    """Return what of a user is to be another."""
    return models.UserChange(**_fields('changes', given, (), _CHANGE))


def shown(user: models.User) -> dict[str, Any]:
    """Return a user as commands return it."""
    return {'name': user.name, 'host': user.host, 'databases': list(user.databases)}


_DATABASE = ('character_set', 'collate')
_CHANGE = ('name', 'host', 'password')


def _user(given: Mapping[str, Any]) -> models.User:
    rest = dict(given)
    names = rest.pop('databases', None) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise errors.InvalidArgument('users: databases is not a list of names')
    fields = _fields('users', rest, ('name', 'password'), ('host',))
    return models.User(**fields, databases=tuple(names))


def _fields(
    what: str, given: Mapping[str, Any], needed: Sequence[str], others: Sequence[str]
) -> dict[str, str]:
    """Return texts by name; those that are null or missing are left out."""
    for name in given:
        if name not in needed and name not in others:
            raise errors.InvalidArgument(f'{what}: there is no field {name!r}')
    found = {name: value for name, value in given.items() if value is not None}
    for name in needed:
        if name not in found:
            raise errors.InvalidArgument(f'{what}: {name} is missing')
    for name, value in found.items():
        if not isinstance(value, str):
            raise errors.InvalidArgument(f'{what}: {name} is no text')
    return found
