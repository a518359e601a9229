# SPDX-License-Identifier: Apache-2.0
"""``channel://DIR``: the folder of a hub, and its sockets there; no I/O."""

from __future__ import annotations

import urllib.parse

from guestagent import errors

SCHEME = 'channel'

#: What a path ends in that is a socket itself, not the hub's folder.
SOCKET = '.sock'


def is_channel(url: str) -> bool:
    """Whether a ``transport_url`` names a hub."""
    return url.partition(':')[0] == SCHEME


def folder(url: str) -> str:
    """Return the path in ``channel://DIR``: the hub's folder, or a socket.

    :raises guestagent.errors.ConfigError: there is none.
    """
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path)
    if parts.netloc or not path.startswith('/') or path == '/' or parts.query:
        raise errors.ConfigError(
            'transport_url: write channel:// and the absolute path of the folder '
            "that is guestagent-hub's --listen, as channel:///run/guestagent-hub"
        )
    return path.rstrip('/')


def guest_socket(url: str, instance: str) -> str:
    """Return the socket of a guest: a path that ends in ``.sock`` is one itself.

    :raises guestagent.errors.ConfigError: the URL names no folder.
    """
    path = folder(url)
    return path if path.endswith(SOCKET) else f'{path}/guests/{instance}.sock'


def programs_socket(url: str) -> str:
    """Return the socket of programs: a path that ends in ``.sock`` is one itself.

    :raises guestagent.errors.ConfigError: the URL names no folder.
    """
    path = folder(url)
    return path if path.endswith(SOCKET) else f'{path}/programs.sock'
