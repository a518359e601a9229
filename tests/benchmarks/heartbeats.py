# SPDX-License-Identifier: Apache-2.0
"""A fleet's heartbeats, put into a queue so fast that the writer measures nothing.

py-amqp opens the connection; the frames are written here, as in ``pipelined``.
"""

import json
import socket
import struct
import types
from typing import Self

import amqp

from devstack import processes
from guestagent.bus import envelope
from guestagent.seal import contents, keys, value
from tests.benchmarks import pipelined

#: Content type and encoding, delivery mode.
_PROPERTIES = 0b1101_0000_0000_0000
#: What stands in their places in the body that all are made of.
_INSTANCE, _SEQUENCE, _ID = 'instance-id', 987654321, 'unique-id'

#: How many are written between two looks at how many have come.
_SLICE = 20_000


class Fleet:
    """Reports of ``size`` instances, round by round; a context manager.

    :param size: how many instances report.
    """

    def __init__(self, port: int, exchange: str, queue: str, size: int) -> None:
        self._queue, self._size = queue, size
        self._round = 0
        # The broker does not read while it has enough to do; py-amqp allows it 1 s.
        self._connection = amqp.Connection(
            f'127.0.0.1:{port}',
            heartbeat=0,
            socket_settings={socket.TCP_USER_TIMEOUT: 60_000},
        )
        self._connection.connect()
        self._channel = self._connection.channel(channel_id=1)
        self._publish = _frame(
            pipelined.METHOD,
            struct.pack('>HHH', pipelined.BASIC, 40, 0)
            + _short(exchange)
            + _short(queue)
            + b'\x00',
        )
        body = envelope.notification(
            f'guestagent.{_INSTANCE}', 'guestagent.heartbeat', _payload(), 'f' * 32
        )
        # oslo.messaging drops what has an id that it has seen.
        message = json.loads(json.loads(body)['oslo.message'])
        self._body = body.replace(message['_unique_id'], _ID)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._connection.close()

    def send(self, count: int) -> None:
        """Publish ``count`` heartbeats and wait until all are in the queue."""
        for begin in range(0, count, _SLICE):
            left = min(_SLICE, count - begin)
            frames = []
            while left:
                self._round += 1
                names = range(min(left, self._size))
                frames += [self._frames(number, self._round) for number in names]
                left -= len(names)
            self._connection.transport.sock.sendall(b''.join(frames))
            # An answer says that the broker has read all that was before.
            self._channel.queue_declare(self._queue, passive=True)

    def depth(self) -> int:
        """Return how many messages wait, those not taken yet."""
        return self._channel.queue_declare(self._queue, passive=True).message_count

    def wait_depth(self, count: int) -> None:
        """Wait until so many wait in the queue: persistent ones take a moment."""
        processes.wait_for(lambda: self.depth() >= count, 'they wait in the queue', 60)

    def _text(self, number: int, sequence: int) -> str:
        return (
            self._body.replace(_INSTANCE, f'bench-{number:05d}')
            .replace(str(_SEQUENCE), str(sequence))
            .replace(_ID, f'{sequence:016x}{number:016x}')
        )

    def _frames(self, number: int, sequence: int) -> bytes:
        body = self._text(number, sequence).encode()
        header = struct.pack('>HHQH', pipelined.BASIC, 0, len(body), _PROPERTIES)
        header += _short('application/json') + _short('utf-8') + b'\x02'
        return (
            self._publish
            + _frame(pipelined.HEADER, header)
            + _frame(pipelined.BODY, body)
        )


class SealedFleet(Fleet):
    """The same reports, each sealed with the key of its instance.

    :param master: the conductor's.
    """

    def __init__(
        self, port: int, exchange: str, queue: str, size: int, master: keys.Line
    ) -> None:
        super().__init__(port, exchange, queue, size)
        self._keys = [
            keys.Key(master.derive(f'bench-{number:05d}')) for number in range(size)
        ]

    def _text(self, number: int, sequence: int) -> str:
        instance = f'bench-{number:05d}'
        payload = {**_payload(), 'instance': instance, 'sequence': sequence}
        sealed = self._keys[number].from_guest.seal(
            value.REPORT, instance.encode(), contents.write(payload)
        )
        return envelope.notification(
            f'guestagent.{instance}',
            'guestagent.heartbeat',
            {'instance': instance, 'sealed': value.encode(sealed)},
            f'{sequence:016x}{number:016x}',
        )


def _payload() -> dict[str, object]:
    """Return what an agent with two extensions reports."""
    extensions = {
        name: {
            'version': '1.0',
            'health': 'ok',
            'distribution': f'guestagent-{name}',
            'distribution_version': '0.1.0',
        }
        for name in ('exec', 'monitoring')
    }
    return {
        'instance': _INSTANCE,
        'kind': 'heartbeat',
        'generation': 'a' * 32,
        'sequence': _SEQUENCE,
        'boot_id': '3c0d6f3e-7f4e-4a53-9d8c-8a8f6f1b2c3d',
        'sent': 1700000000.123,
        'data': {
            'status': 'running',
            'agent_version': '0.1.0',
            'interval': 30.0,
            'started': 1700000000.5,
            'dropped': 0,
            'extensions': extensions,
        },
    }


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack('>BHI', kind, 1, len(payload)) + payload + pipelined.FRAME_END
