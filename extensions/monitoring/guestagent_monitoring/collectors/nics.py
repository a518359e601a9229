# SPDX-License-Identifier: Apache-2.0
"""Network interfaces and their addresses, as rtnetlink(7) tells them."""

from __future__ import annotations

import fnmatch
import socket
import struct
from collections.abc import Collection, Iterable
from typing import Any

from guestagent_monitoring import netlink

#: struct ifinfomsg: family, type, index, flags, change.
_LINK = struct.Struct('=BxHiII')
#: struct ifaddrmsg: family, prefix length, flags, scope, index.
_ADDRESS = struct.Struct('=BBBBI')

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_OPERSTATE = 1, 3, 4, 16
_IFLA_STATS64 = 23
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
#: Types of links whose hardware address is one that people know: Ethernet and what
#: looks like it, InfiniBand.
_WITH_MAC = (1, 32)

_STATES = (
    'unknown',
    'notpresent',
    'down',
    'lowerlayerdown',
    'testing',
    'dormant',
    'up',
)
#: The beginning of struct rtnl_link_stats64.
_STATISTICS = struct.Struct('=16Q')
_FAMILIES = {socket.AF_INET: 'inet', socket.AF_INET6: 'inet6'}


def nics(ignored: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the interfaces, in the kernel's order.

    Each is ``{name, mac, mtu, state, addresses}``; an address is ``{family, address,
    prefix}``, the family ``inet`` or ``inet6``.  ``mac`` is ``None`` for a link
    without one, ``state`` the kernel's word (``up``, ``down``, ``unknown``, ...).

    :raises OSError: the kernel does not answer.
    """
    links = netlink.dump(netlink.GET_LINK, netlink.NEW_LINK)
    return describe(
        links, netlink.dump(netlink.GET_ADDRESS, netlink.NEW_ADDRESS), ignored
    )


def interfaces() -> list[dict[str, Any]]:
    """Return all interfaces, those too that are not reported.

    Each is what :func:`nics` has, with ``index``, ``hardware_address`` (of any kind
    of link, ``None`` where there is none) and ``counters``: ``{rx_bytes, rx_packets,
    rx_errs, rx_dropped, tx_bytes, tx_packets, tx_errs, tx_dropped}`` since the start,
    as in /proc/net/dev.

    :raises OSError: the kernel does not answer.
    """
    links = netlink.dump(netlink.GET_LINK, netlink.NEW_LINK)
    found = describe(links, netlink.dump(netlink.GET_ADDRESS, netlink.NEW_ADDRESS))
    for body, nic in zip(links, found, strict=True):
        nic.update(_details(body))
    return found


def describe(
    links: Iterable[bytes], addresses: Iterable[bytes], ignored: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the interfaces that the kernel's answers describe; no I/O.

    :raises ValueError: an answer is cut short.
    """
    found: dict[int, dict[str, Any]] = {}
    for body in links:
        index, nic = _link(body)
        if not any(fnmatch.fnmatchcase(nic['name'], glob) for glob in ignored):
            found[index] = nic
    for body in addresses:
        family, prefix, _flags, _scope, index = netlink.unpack(_ADDRESS, body)
        if index in found and family in _FAMILIES:
            found[index]['addresses'].append(
                _address(family, prefix, body[_ADDRESS.size :])
            )
    return list(found.values())


def _link(body: bytes) -> tuple[int, dict[str, Any]]:
    _family, kind, index, _flags, _change = netlink.unpack(_LINK, body)
    fields = netlink.attributes(body[_LINK.size :])
    hardware = fields.get(_IFLA_ADDRESS, b'') if kind in _WITH_MAC else b''
    state = int.from_bytes(fields.get(_IFLA_OPERSTATE, b'\0'), 'little')
    return index, {
        'name': fields[_IFLA_IFNAME].rstrip(b'\0').decode('utf-8', 'replace'),
        'mac': hardware.hex(':') or None,
        'mtu': int.from_bytes(fields[_IFLA_MTU], netlink.BYTE_ORDER),
        'state': _STATES[state] if state < len(_STATES) else 'unknown',
        'addresses': [],
    }


def _details(body: bytes) -> dict[str, Any]:
    fields = netlink.attributes(body[_LINK.size :])
    figures = netlink.unpack(_STATISTICS, fields[_IFLA_STATS64])
    received, sent = figures[0:8:2], figures[1:8:2]
    rx_packets, rx_bytes, rx_errs, rx_dropped = received
    tx_packets, tx_bytes, tx_errs, tx_dropped = sent
    return {
        'index': netlink.unpack(_LINK, body)[2],
        'hardware_address': fields.get(_IFLA_ADDRESS, b'').hex(':') or None,
        'counters': {
            'rx_bytes': rx_bytes,
            'rx_packets': rx_packets,
            'rx_errs': rx_errs,
            # With those that the device itself had no room for.
            'rx_dropped': rx_dropped + figures[15],
            'tx_bytes': tx_bytes,
            'tx_packets': tx_packets,
            'tx_errs': tx_errs,
            'tx_dropped': tx_dropped,
        },
    }


def _address(family: int, prefix: int, rest: bytes) -> dict[str, Any]:
    fields = netlink.attributes(rest)
    # On a link between two points the other attribute is the other end.
    packed = fields.get(_IFA_LOCAL) or fields[_IFA_ADDRESS]
    return {
        'family': _FAMILIES[socket.AddressFamily(family)],
        'address': socket.inet_ntop(family, packed),
        'prefix': prefix,
    }
