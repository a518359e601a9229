# SPDX-License-Identifier: Apache-2.0
"""A connection to a bus of D-Bus, of what little is needed of one.

A library for D-Bus would take more memory than the rest of the agent that is idle.
"""

from __future__ import annotations

import collections
import os
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

from guestagent_sso import wire

#: Seconds that the bus, or who is asked on it, may take to answer.
SECONDS = 10.0
SYSTEM = 'unix:path=/run/dbus/system_bus_socket'

DRIVER = 'org.freedesktop.DBus'
_DRIVER_PATH = '/org/freedesktop/DBus'
#: RequestName's answer when the name is ours.
_OWNER = 1
_DO_NOT_QUEUE = 4


class BusError(Exception):
    """There is no bus, or it is of no use."""


class CallError(Exception):
    """Who was asked refused.

    :ivar name: D-Bus' name of the error.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name


def system_address() -> str:
    """Return where the system's bus is."""
    return os.environ.get('DBUS_SYSTEM_BUS_ADDRESS', SYSTEM)


class Connection:
    """One client of a bus; for one thread.

    :param address: as in ``DBUS_SYSTEM_BUS_ADDRESS``.
    :ivar name: the connection's own on the bus.
    :raises BusError: it cannot be reached, or refuses us.
    """

    def __init__(self, address: str) -> None:
        self._serial = 0
        self._data = bytearray()
        self._waiting: collections.deque[wire.Message] = collections.deque()
        self._socket = _connect(address)
        try:
            self._authenticate()
            (self.name,) = self.ask_driver('Hello')
        except (CallError, OSError) as error:
            self.close()
            raise BusError(f'{address}: {error}') from None
        except BusError:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to be polled for what comes."""
        return self._socket.fileno()

    def close(self) -> None:
        """Leave the bus."""
        self._socket.close()

    def ask_driver(self, member: str, signature: str = '', *body: Any) -> Any:
        """Call a method of the bus itself; errors as :meth:`call`."""
        return self.call(DRIVER, _DRIVER_PATH, DRIVER, member, signature, *body)

    def own(self, name: str) -> None:
        """Become the one who has a well-known name.

        :raises CallError: the bus' policy, or who has it already, does not allow it.
        :raises BusError: the connection is lost.
        """
        (answer,) = self.ask_driver('RequestName', 'su', name, _DO_NOT_QUEUE)
        if answer != _OWNER:
            raise CallError('', f'another program has the name {name}')

    def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = '',
        *body: Any,
        seconds: float = SECONDS,
    ) -> tuple[Any, ...]:
        """Call a method and return what it returns; what comes meanwhile is kept.

        :raises CallError: it refuses, does not answer in time, or there is nobody of
            that name.
        :raises BusError: the connection is lost.
        """
        serial = self.send(
            wire.Message(
                *(wire.CALL, path, interface, member), *(destination, signature, body)
            )
        )
        until = time.monotonic() + seconds
        while True:
            message = self._receive(until - time.monotonic())
            if message is None:
                raise CallError('', f'{destination} does not answer {member}')
            if message.reply_to != serial:
                self._waiting.append(message)
            elif message.kind == wire.ERROR:
                text = message.body[0] if message.body else ''
                raise CallError(message.error, str(text))
            else:
                return message.body

    def send(self, message: wire.Message) -> int:
        """Send a message, and return the number that it got.

        :raises BusError: the connection is lost.
        """
        self._serial += 1
        try:
            self._socket.sendall(wire.encode(message._replace(serial=self._serial)))
        except OSError as error:
            raise BusError(f'the bus is lost: {error.strerror}') from None
        return self._serial

    def receive(self, seconds: float) -> wire.Message | None:
        """Return the next message; ``None``: none came in time.

        :raises BusError: the connection is lost.
        """
        if self._waiting:
            return self._waiting.popleft()
        return self._receive(seconds)

    def pending(self) -> Iterator[wire.Message]:
        """Yield what has come already.

        :raises BusError: the connection is lost.
        """
        while (message := self.receive(0)) is not None:
            yield message

    def _receive(self, seconds: float) -> wire.Message | None:
        until = time.monotonic() + seconds
        while True:
            try:
                message = self._take()
            except wire.Malformed as error:
                raise BusError(f'the bus sent {error}') from None
            if message is not None:
                return message
            if not self._read(max(0.0, until - time.monotonic())):
                return None

    def _take(self) -> wire.Message | None:
        if len(self._data) < wire.FIXED:
            return None
        length = wire.measure(bytes(self._data[: wire.FIXED]))
        if len(self._data) < length:
            return None
        message = wire.decode(bytes(self._data[:length]))
        del self._data[:length]
        return message

    def _read(self, seconds: float) -> bool:
        """Read what has come; return whether anything has, in time."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise BusError(f'the bus is lost: {error.strerror}') from None
        if not data:
            raise BusError('the bus has closed the connection')
        self._data += data
        return True

    def _authenticate(self) -> None:
        """Say who we are, which the kernel has told the bus already."""
        identity = str(os.geteuid()).encode().hex()
        self._socket.sendall(f'\0AUTH EXTERNAL {identity}\r\n'.encode())
        answer = b''
        while not answer.endswith(b'\r\n'):
            part = self._socket.recv(1)
            if not part or len(answer) > 512:
                raise BusError('the bus does not let us in')
            answer += part
        if not answer.startswith(b'OK '):
            raise BusError('the bus does not let us in')
        self._socket.sendall(b'BEGIN\r\n')


def _connect(address: str) -> socket.socket:
    problem = 'no address of a unix socket'
    for one in address.split(';'):
        kind, _, options = one.partition(':')
        named = dict(item.partition('=')[::2] for item in options.split(','))
        path = _unescape(named.get('path', ''))
        if kind == 'unix' and 'abstract' in named:
            path = '\0' + _unescape(named['abstract'])
        if kind != 'unix' or not path:
            continue
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(SECONDS)
        try:
            made.connect(path)
        except OSError as error:
            made.close()
            problem = error.strerror or str(error)
            continue
        return made
    raise BusError(f'{address}: {problem}')


def _unescape(text: str) -> str:
    """Return the text of an address, in which ``%20`` is a space."""
    first, *others = text.split('%')
    try:
        return first + ''.join(chr(int(part[:2], 16)) + part[2:] for part in others)
    except ValueError:
        raise BusError(f'{text}: no address') from None
