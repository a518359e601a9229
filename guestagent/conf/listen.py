# SPDX-License-Identifier: Apache-2.0
"""Where a program listens: a type of options, and what it means."""

from __future__ import annotations

import ipaddress
from typing import Any

from oslo_config import types

#: A unix socket's path, or (address, port).
Where = str | tuple[str, int]


class Listen(types.String):
    """``/path/of/a/socket``, ``127.0.0.1:9101``, ``[::1]:9101`` or nothing."""

    def __init__(self) -> None:
        super().__init__(type_name='listen address')

    def __call__(self, value: Any) -> str:
        """Return the value.

        :raises ValueError: it is none of these.
        """
        text = str(super().__call__(value))
        if text:
            parse(text)
        return text


def parse(text: str) -> Where:
    """Return where ``text`` says.

    :raises ValueError: it makes no sense.
    """
    if text.startswith('/'):
        if len(text.encode()) > 107:
            raise ValueError(f'{text}: the path of a socket has at most 107 bytes')
        return text
    host, _, port = text.rpartition(':')
    if host.startswith('[') and host.endswith(']'):
        host = host[1:-1]
    elif ':' in host:
        host = ''
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        address = ''
    if not address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f'{text!r}: write /path/of/a/socket, or an address and a port as in '
            f'127.0.0.1:9101 or [::1]:9101'
        )
    return address, int(port)
