# SPDX-License-Identifier: Apache-2.0
"""A client that keeps many calls in flight and costs next to nothing itself.

It speaks doc/wire.rst.  py-amqp opens the connection; after that frames are written
and read here, because a client of 100 us a call would measure itself.
"""

import json
import struct
import time
import uuid
from typing import Any

import amqp

METHOD, HEADER, BODY = 1, 2, 3
FRAME_END = b'\xce'
BASIC = 60
#: Which properties follow: content type and encoding, headers, delivery mode,
#: priority, expiration.
PROPERTIES = 0b1111_1001_0000_0000
TIMEOUT = 60.0


class ClientError(Exception):
    """A reply did not come, is not what was asked for, or the broker hung up."""


class Replies:
    """Finds the bodies of messages in a stream of AMQP frames; no I/O."""

    def __init__(self) -> None:
        self._buffer = b''
        self._missing = 0
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the bodies that are complete now.

        :raises ClientError: the broker closed the channel or the connection.
        """
        buffer = self._buffer + data
        bodies = []
        at = 0
        while len(buffer) - at >= 8:
            kind, _, size = struct.unpack_from('>BHI', buffer, at)
            end = at + 7 + size + 1
            if end > len(buffer):
                break
            body = self._frame(kind, buffer[at + 7 : end - 1])
            if body is not None:
                bodies.append(body)
            at = end
        self._buffer = buffer[at:]
        return bodies

    def _frame(self, kind: int, payload: bytes) -> bytes | None:
        if kind == METHOD:
            if struct.unpack_from('>HH', payload) in ((10, 50), (20, 40)):
                raise ClientError(f'the broker hung up: {payload[4:]!r}')
        elif kind == HEADER:
            self._missing = struct.unpack_from('>Q', payload, 4)[0]
            self._parts = []
        elif kind == BODY:
            self._parts.append(payload)
            self._missing -= len(payload)
            if self._missing == 0:
                return b''.join(self._parts)
        return None


class Request:
    """Makes the frames of ``echo.echo`` calls to one topic; no I/O.

    :param method: another of the extension's.
    """

    def __init__(
        self,
        exchange: str,
        topic: str,
        reply_queue: str,
        value: Any,
        method: str = 'echo',
    ) -> None:
        self._publish = _frame(
            METHOD,
            struct.pack('>HHH', BASIC, 40, 0)
            + _short(exchange)
            + _short(topic)
            + b'\x00',
        )
        self._properties = (
            _short('application/json')
            + _short('utf-8')
            + struct.pack('>I', 0)
            + b'\x02\x00'
            + _short(str(int(TIMEOUT * 1000)))
        )
        message = {
            'method': method,
            'args': {'value': value},
            'namespace': 'echo',
            'version': '1.0',
            '_unique_id': '<id>',
            '_msg_id': '<id>',
            '_reply_q': reply_queue,
            '_timeout': None,
        }
        body = json.dumps({'oslo.version': '2.0', 'oslo.message': json.dumps(message)})
        self._pieces = body.encode().split(b'<id>')

    def frames(self, message_id: str) -> bytes:
        """Return the frames of one call; both of its ids are ``message_id``."""
        body = message_id.encode().join(self._pieces)
        header = struct.pack('>HHQH', BASIC, 0, len(body), PROPERTIES)
        return (
            self._publish
            + _frame(HEADER, header + self._properties)
            + _frame(BODY, body)
        )


class Client:
    """Calls ``echo.echo``, with as many calls in flight as asked for."""

    def __init__(
        self,
        host: str,
        user: str,
        password: str,
        vhost: str,
        exchange: str,
        value: Any = 'hello',
    ) -> None:
        """Connect, and declare a reply queue.

        :param host: ``address:port`` of the broker.
        """
        self._exchange, self._value = exchange, value
        self._connection = amqp.Connection(
            host=host, userid=user, password=password, virtual_host=vhost, heartbeat=0
        )
        self._connection.connect()
        channel = self._connection.channel(channel_id=1)
        self._queue = f'reply_{uuid.uuid4().hex}'
        channel.queue_declare(self._queue, auto_delete=True, durable=False)
        channel.basic_consume(self._queue, no_ack=True)
        self._socket = self._connection.transport.sock
        self._socket.settimeout(TIMEOUT)
        self._replies = Replies()
        self._outstanding: set[str] = set()
        self._prefix = uuid.uuid4().hex[:16]
        self._count = 0
        self._requests: dict[tuple[str, str], Request] = {}

    def close(self) -> None:
        """Close the connection; the broker forgets the reply queue."""
        self._connection.close()

    def send(self, topic: str, calls: int = 1, method: str = 'echo') -> None:
        """Send ``calls`` calls and wait for nothing."""
        request = self._requests.get((topic, method))
        if request is None:
            request = Request(self._exchange, topic, self._queue, self._value, method)
            self._requests[topic, method] = request
        frames = []
        for _ in range(calls):
            self._count += 1
            message_id = f'{self._prefix}{self._count:016x}'
            self._outstanding.add(message_id)
            frames.append(request.frames(message_id))
        self._socket.sendall(b''.join(frames))

    def receive(self) -> int:
        """Wait until replies come, check them, and return how many did.

        :raises ClientError: none came, or one is wrong.
        """
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            raise ClientError(f'no reply within {TIMEOUT:.0f} s') from None
        if not data:
            raise ClientError('the broker closed the connection')
        bodies = self._replies.feed(data)
        for body in bodies:
            reply = json.loads(json.loads(body)['oslo.message'])
            if reply['failure'] is not None or reply['result'] != self._value:
                raise ClientError(f'not what was asked for: {reply}')
            self._outstanding.remove(reply['_msg_id'])
        return len(bodies)

    def run(
        self, topic: str, calls: int, in_flight: int, method: str = 'echo'
    ) -> float:
        """Make ``calls`` calls, ``in_flight`` at a time; return the seconds."""
        started = time.perf_counter()
        sent = min(in_flight, calls)
        self.send(topic, sent, method)
        while self._outstanding:
            more = min(self.receive(), calls - sent)
            if more:
                self.send(topic, more, method)
                sent += more
        return time.perf_counter() - started


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack('>BHI', kind, 1, len(payload)) + payload + FRAME_END
