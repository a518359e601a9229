# SPDX-License-Identifier: Apache-2.0
"""The routes of the main tables, as /proc/net tells them."""

from __future__ import annotations

import socket
import sys
from typing import Any

from guestagent_monitoring import files


def routes(root: str = '/') -> list[dict[str, Any]]:
    """Return the routes, those of IPv4 first.

    Each is ``{version, iface, destination, prefix_length, metric, flags, refcnt,
    use}``; one of IPv4 has ``mask, gateway, mtu, window, irtt`` too, one of IPv6
    ``source, source_prefix_length, next_hop``.  ``flags`` are the kernel's RTF_*.
    A guest without one of the two has no routes of it.

    :raises ValueError: the kernel's words make no sense.
    """
    found = []
    for path, parse in (('proc/net/route', _ipv4), ('proc/net/ipv6_route', _ipv6)):
        try:
            lines = files.read(root, path).splitlines()
        except FileNotFoundError:
            continue
        found += [parse(line.split()) for line in lines if line[:6] != 'Iface\t']
    return found


def _ipv4(words: list[str]) -> dict[str, Any]:
    (
        iface,
        destination,
        gateway,
        flags,
        refcnt,
        use,
        metric,
        mask,
        mtu,
        window,
        irtt,
    ) = words
    return {
        'version': 4,
        'iface': iface,
        'destination': _address4(destination),
        'prefix_length': int(mask, 16).bit_count(),
        'metric': int(metric),
        'flags': int(flags, 16),
        'refcnt': int(refcnt),
        'use': int(use),
        'mask': _address4(mask),
        'gateway': _address4(gateway),
        'mtu': int(mtu),
        'window': int(window),
        'irtt': int(irtt),
    }


def _ipv6(words: list[str]) -> dict[str, Any]:
    (
        destination,
        length,
        source,
        source_length,
        hop,
        metric,
        refcnt,
        use,
        flags,
        iface,
    ) = words
    return {
        'version': 6,
        'iface': iface,
        'destination': _address6(destination),
        'prefix_length': int(length, 16),
        'metric': int(metric, 16),
        'flags': int(flags, 16),
        'refcnt': int(refcnt, 16),
        'use': int(use, 16),
        'source': _address6(source),
        'source_prefix_length': int(source_length, 16),
        'next_hop': _address6(hop),
    }


def _address4(text: str) -> str:
    """Return an address that is written as a number of this machine."""
    return socket.inet_ntoa(int(text, 16).to_bytes(4, sys.byteorder))


def _address6(text: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(text))
