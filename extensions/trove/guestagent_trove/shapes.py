# SPDX-License-Identifier: Apache-2.0
"""Trove's payloads, from and to those of the extension ``datastore``; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors

_GB = 1024.0**3


def database_in(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a database as ``datastore`` takes it."""
    return _some(
        name=_name(item),
        character_set=item.get('_character_set'),
        collate=item.get('_collate'),
    )


def database_out(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a database as Trove expects it."""
    return {
        '_name': item['name'],
        '_character_set': item.get('character_set') or None,
        '_collate': item.get('collate') or None,
    }


def user_in(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user as ``datastore`` takes it."""
    names = [_name(one) for one in item.get('_databases') or ()]
    return _some(
        name=_name(item),
        host=item.get('_host'),
        password=item.get('_password'),
        databases=names or None,
    )


def user_out(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user as Trove expects it; a password is never told."""
    return {
        '_name': item['name'],
        '_host': item.get('host') or '%',
        '_password': None,
        '_databases': [
            database_out({'name': name}) for name in item.get('databases') or ()
        ],
        '_is_root': False,
    }


def root_out(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return root, with its password."""
    return {
        '_name': item['name'],
        '_host': item.get('host') or '%',
        '_password': item['password'],
        '_databases': [],
        '_is_root': True,
    }


def plain_user_in(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``change_passwords`` says of a user."""
    return _some(
        name=item.get('name'), host=item.get('host'), password=item.get('password')
    )


def page_out(
    page: Mapping[str, Any], shape: Callable[[Mapping[str, Any]], Any]
) -> list[Any]:
    """Return a part of a list, each item as Trove expects it."""
    return [[shape(item) for item in page['items']], page.get('next_marker')]


def stats_out(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file system's figures; ``free`` stays in bytes, as Trove has it."""
    return {
        **{
            name: stats[name]
            for name in ('block_size', 'total_blocks', 'free_blocks', 'avail_blocks')
        },
        'total': round(stats['total'] / _GB, 2),
        'free': stats['free'],
        'used': round(stats['used'] / _GB, 2),
        'mgr_extra_info': {},
    }


def gigabytes(size: float) -> float:
    """Return bytes in GB, as Trove keeps the size of a backup."""
    return round(size / _GB, 2)


def _name(item: Mapping[str, Any]) -> str:
    name = item.get('_name')
    if not isinstance(name, str) or not name:
        raise errors.InvalidArgument(f'a name is missing in {sorted(item)}')
    return name


def _some(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
