# SPDX-License-Identifier: Apache-2.0
"""Logging in to what may be no broker: bounded in time and size, and told apart.

py-amqp reads whatever size a frame's head names, and waits for each part of an answer
anew.  So it reads through :class:`Reader` until it has logged in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import amqp
from amqp import transport

#: Of the log-in's few small frames; RabbitMQ's come to less than 2 KiB.
SIZE_MAX = 64 * 1024

#: Answers of a log-in: to the greeting, to the password, and to the virtual host.
ANSWERS = 3

_TLS_ALERT = 0x15
_FRAME_METHOD = 0x01
#: A broker of another version of AMQP answers with the greeting that it wants.
_GREETING = ord('A')


class NotAmqp(ConnectionError):
    """What answers is no AMQP broker."""


class SpeaksTls(NotAmqp):
    """What answers speaks TLS, and was spoken to without."""


class Reader:
    """Reads a broker's answers to a log-in.

    :param receive: the socket's own, of at most so many bytes.
    :param set_timeout: the socket's own, in seconds.
    :param seconds: for each answer; all together have :data:`ANSWERS` times as long.
    """

    def __init__(
        self,
        receive: Callable[[int], bytes],
        set_timeout: Callable[[float], None],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive = receive
        self._set_timeout = set_timeout
        self._clock = clock
        self._seconds = seconds
        self._deadline = clock() + ANSWERS * seconds
        self._size = 0

    def __call__(self, size: int) -> bytes:
        """Return what came, at most ``size`` bytes; ``b''`` at the end.

        :raises TimeoutError: the time is over.
        :raises NotAmqp: no broker would send this.
        """
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError('the log-in took too long')
        self._set_timeout(min(left, self._seconds))
        data = self._receive(min(size, SIZE_MAX))
        if data and not self._size:
            _judge(data[0])
        self._size += len(data)
        if self._size > SIZE_MAX:
            raise NotAmqp('too much for the answers to a log-in')
        return data


def _judge(first: int) -> None:
    """Raise where no broker begins with this byte."""
    if first == _TLS_ALERT:
        raise SpeaksTls('an alert of TLS')
    if first not in (_FRAME_METHOD, _GREETING):
        raise NotAmqp(f'it begins with the byte {first:#04x}')


class _Bounded:
    """A transport of py-amqp that reads through :class:`Reader`."""

    connect_timeout: float
    sock: Any
    _quick_recv: Callable[[int], bytes]

    def _setup_transport(self) -> None:
        super()._setup_transport()  # type: ignore[misc]
        self._quick_recv = Reader(
            self._quick_recv, self.sock.settimeout, self.connect_timeout
        )


class _Plain(_Bounded, transport.TCPTransport):
    pass


class _Tls(_Bounded, transport.SSLTransport):
    pass


class Connection(amqp.Connection):
    """py-amqp's, with an end to what a log-in may take.

    Once logged in, its owner reads the socket itself.
    """

    def Transport(  # noqa: N802  # py-amqp's name
        self,
        host: str,
        connect_timeout: float,
        ssl: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Return a transport that is not yet connected."""
        made = _Tls if ssl else _Plain
        return made(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            **options,
        )
