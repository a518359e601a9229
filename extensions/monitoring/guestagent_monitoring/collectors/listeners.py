# SPDX-License-Identifier: Apache-2.0
"""The ports that something listens on, and what it is."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from guestagent_monitoring import files

_TCP_LISTEN, _UDP_UNCONNECTED = '0A', '07'
_SOCKET = re.compile(r'socket:\[(\d+)\]')
_RANGE = 'proc/sys/net/ipv4/ip_local_port_range'


class _Socket(NamedTuple):
    protocol: str
    address: str
    port: int
    uid: int
    inode: int


class Listeners:
    """Tells who listens; remembers which process each socket belongs to.

    To find that takes a look at all files of all processes, which is done only when
    there is a socket that was not there before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[int, str | None] = {}
        self._seen: set[int] = set()

    def __call__(self, root: str = '/') -> list[dict[str, Any]]:
        """Return ``{protocol, address, port, process, uid}`` of each, sorted.

        ``protocol`` is tcp or udp; ``process`` is ``None`` where it is another user's
        and the agent is not root.  A UDP port of those that the kernel gives to
        clients is told when it is still there at the next look.
        """
        sockets = [*_tcp(root), *_udp(root)]
        with self._lock:
            first, last = _client_ports(root)
            steady = [
                each
                for each in sockets
                if each.protocol == 'tcp'
                or not first <= each.port <= last
                or each.inode in self._seen
            ]
            self._seen = {each.inode for each in sockets}
            self._find_owners(root, {each.inode for each in steady})
            found = {
                (
                    each.protocol,
                    each.port,
                    each.address,
                    self._owners[each.inode] or '',
                    each.uid,
                )
                for each in steady
            }
        return [
            {
                'protocol': protocol,
                'address': address,
                'port': port,
                'process': process or None,
                'uid': uid,
            }
            for protocol, port, address, process, uid in sorted(found)
        ]

    def _find_owners(self, root: str, inodes: set[int]) -> None:
        if not inodes <= self._owners.keys():
            self._owners = {**dict.fromkeys(inodes), **_owners(root, inodes)}
        else:
            self._owners = {inode: self._owners[inode] for inode in inodes}


def _tcp(root: str) -> Iterator[_Socket]:
    for path in ('proc/net/tcp', 'proc/net/tcp6'):
        for words in _rows(root, path):
            if words[3] != _TCP_LISTEN:
                break  # those that listen come first, and the others may be very many
            yield _socket('tcp', words)


def _udp(root: str) -> Iterator[_Socket]:
    for path in ('proc/net/udp', 'proc/net/udp6'):
        for words in _rows(root, path):
            if words[3] == _UDP_UNCONNECTED:
                yield _socket('udp', words)


def _rows(root: str, path: str) -> Iterator[list[str]]:
    try:
        with open(os.path.join(root, path), encoding='ascii') as file:
            next(file, '')
            for line in file:
                yield line.split()
    except FileNotFoundError:
        return  # a guest without IPv6


def _socket(protocol: str, words: list[str]) -> _Socket:
    address, _, port = words[1].partition(':')
    return _Socket(
        protocol, _address(address), int(port, 16), int(words[7]), int(words[9])
    )


def _address(text: str) -> str:
    """Return an address that is written as numbers of 32 bits of this machine."""
    packed = b''.join(
        int(text[start : start + 8], 16).to_bytes(4, sys.byteorder)
        for start in range(0, len(text), 8)
    )
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed)


def _client_ports(root: str) -> tuple[int, int]:
    first, last = (files.read_first(root, _RANGE) or '32768 60999').split()
    return int(first), int(last)


def _owners(root: str, wanted: set[int]) -> dict[int, str]:
    """Return the names of the processes that have these sockets open; the oldest's."""
    found: dict[int, str] = {}
    processes = (name for name in files.read_names(root, 'proc') if name.isdigit())
    for process in sorted(processes, key=int):
        folder = os.path.join(root, 'proc', process, 'fd')
        for descriptor in files.read_names(folder, '.'):
            try:
                told = _SOCKET.fullmatch(os.readlink(os.path.join(folder, descriptor)))
            except OSError:
                continue  # closed meanwhile
            if told and int(told[1]) in wanted:
                name = files.read_first(root, f'proc/{process}/comm')
                found.setdefault(int(told[1]), name or process)
    return found
