# SPDX-License-Identifier: Apache-2.0
"""As much of netlink(7) as it takes to list interfaces and to hear of changes."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

GET_LINK, NEW_LINK = 18, 16
GET_ADDRESS, NEW_ADDRESS = 22, 20

BYTE_ORDER = sys.byteorder

#: struct nlmsghdr: length, type, flags, sequence, port; struct nlattr: length, type.
_HEADER = struct.Struct('=IHHII')
_ATTRIBUTE = struct.Struct('=HH')
_ERROR, _DONE = 2, 3
_DUMP_REQUEST = 0x001 | 0x300
_INTERRUPTED = 0x10
_TYPE_MASK = 0x3FFF
#: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
_CHANGES = 0x1 | 0x10 | 0x100
_KOBJECT_UEVENT = 15
_SOCKET = socket.SOCK_RAW | socket.SOCK_CLOEXEC
#: The kernel never fills more at once.
BUFFER = 64 * 1024
_TRIES = 3


def dump(request: int, answer: int) -> list[bytes]:
    """Ask for all objects of a kind; return the body of each.

    :param request: GET_LINK or GET_ADDRESS.
    :param answer: the type of the messages that describe an object.
    :raises OSError: the kernel refuses or does not answer.
    :raises ValueError: its answer makes no sense.
    """
    with socket.socket(socket.AF_NETLINK, _SOCKET, socket.NETLINK_ROUTE) as channel:
        channel.settimeout(5)
        channel.bind((0, 0))
        for sequence in range(1, _TRIES + 1):
            # struct rtgenmsg: any address family.
            channel.send(
                _HEADER.pack(_HEADER.size + 4, request, _DUMP_REQUEST, sequence, 0)
                + b'\0\0\0\0'
            )
            found, changed_meanwhile = _collect(channel, sequence, answer)
            if not changed_meanwhile:
                break
    # One that never came to rest is still the best that is known.
    return found


def subscribe() -> socket.socket:
    """Return a socket that becomes readable when a link or an address changes.

    :raises OSError: the kernel refuses.
    """
    return _listen(socket.NETLINK_ROUTE, _CHANGES)


def subscribe_devices() -> socket.socket:
    """Return a socket that becomes readable when a device comes, changes or goes.

    :raises OSError: the kernel refuses.
    """
    return _listen(_KOBJECT_UEVENT, 1)


def is_of_a_disk(message: bytes) -> bool:
    """Whether what was announced of devices is about a disk or a partition; no I/O."""
    return b'\0SUBSYSTEM=block\0' in message


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split what was received into (type, flags, sequence, body); no I/O.

    :raises ValueError: it is cut short.
    """
    for start, length in _pieces(data, _HEADER):
        _, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
        yield kind, flags, sequence, data[start + _HEADER.size : start + length]


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes that follow a body's fixed part; no I/O.

    :raises ValueError: they are cut short.
    """
    found = {}
    for start, length in _pieces(data, _ATTRIBUTE):
        kind = _ATTRIBUTE.unpack_from(data, start)[1]
        found[kind & _TYPE_MASK] = data[start + _ATTRIBUTE.size : start + length]
    return found


def unpack(form: struct.Struct, data: bytes) -> tuple[Any, ...]:
    """Return the fixed part of a body.

    :raises ValueError: it is cut short.
    """
    if len(data) < form.size:
        raise ValueError('an answer of netlink is cut short')
    return form.unpack_from(data)


def _pieces(data: bytes, header: struct.Struct) -> Iterator[tuple[int, int]]:
    """Return (start, length) of what begins with its length, padded to four bytes."""
    start = 0
    while start < len(data):
        length = unpack(header, data[start : start + header.size])[0]
        if not header.size <= length <= len(data) - start:
            raise ValueError('an answer of netlink is cut short')
        yield start, length
        start += (length + 3) & ~3


def _listen(protocol: int, groups: int) -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, _SOCKET | socket.SOCK_NONBLOCK, protocol)
    try:
        channel.bind((0, groups))
    except OSError:
        channel.close()
        raise
    return channel


def _collect(
    channel: socket.socket, sequence: int, answer: int
) -> tuple[list[bytes], bool]:
    """Return the bodies of one dump, and whether they changed meanwhile."""
    found: list[bytes] = []
    interrupted = 0
    while True:
        for kind, flags, number, body in messages(channel.recv(BUFFER)):
            if number != sequence:
                continue
            interrupted |= flags & _INTERRUPTED
            if kind == _DONE:
                return found, bool(interrupted)
            if kind == _ERROR:
                code = -int.from_bytes(body[:4], BYTE_ORDER, signed=True)
                raise OSError(code, os.strerror(code))
            if kind == answer:
                found.append(body)
