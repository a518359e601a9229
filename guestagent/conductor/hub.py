# SPDX-License-Identifier: Apache-2.0
"""The report queue in a hub (``channel://``), as the listener takes from it."""

from __future__ import annotations

import collections
import time
from typing import Any

from guestagent.bus.driver import line as lines
from guestagent.conductor import broker, deliveries

_SUBSCRIPTION = 1

#: The parameter of a host that is a hub: the path of its socket.
PATH = 'path'


class Consumer:
    """Takes reports on one connection; used by one thread.

    What :class:`guestagent.conductor.broker.Consumer` is for RabbitMQ.

    :ivar backlog: how many messages waited in the hub at that time.
    :cvar proven: the hub takes from a guest only what names that guest.
    :raises OSError: the hub is lost, here and in each method.
    """

    proven = True

    def __init__(self, host: broker.Host, queue: broker.Queue) -> None:
        self._max_size = queue.max_size
        self._waiting: collections.deque[deliveries.Delivery] = collections.deque()
        self.backlog = 0
        self._line = lines.Line(host.parameters[PATH])
        try:
            self._line.greet()
            self._line.send(
                {
                    'op': 'consume',
                    'sub': _SUBSCRIPTION,
                    'exchange': queue.exchange,
                    'topic': queue.name,
                    'prefetch': queue.prefetch,
                    'kept': True,
                }
            )
            self._consuming = False
            while not self._consuming:
                self._read(lines.ANSWER_SECONDS, needed=True)
        except BaseException:
            self.drop()
            raise

    def take(self, limit: int, idle: float, fill: float) -> list[deliveries.Delivery]:
        """Return up to ``limit`` messages, none if none came for ``idle`` seconds.

        :param fill: how many seconds to wait for more after the first.
        """
        waiting = self._waiting
        deadline = time.monotonic() + (fill if waiting else idle)
        while len(waiting) < limit:
            before = len(waiting)
            if not self._read(deadline - time.monotonic()):
                break
            if not before and waiting:
                deadline = time.monotonic() + fill
            elif time.monotonic() >= deadline:
                break
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))]

    def acknowledge(self, delivery: deliveries.Delivery) -> None:
        """Acknowledge this message and all before it."""
        self._line.send({'op': 'ack', 'sub': _SUBSCRIPTION, 'upto': delivery.tag})

    def close(self) -> None:
        """Take leave of the hub; what is not acknowledged is delivered again."""
        try:
            self._line.send({'op': 'bye', 'reason': 'the conductor stops'})
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the connection without a word."""
        self._line.close()

    def _read(self, seconds: float, needed: bool = False) -> bool:
        """Take what there is; return whether there was anything in time.

        :param needed: whether it is an error if there is nothing.
        """
        if not self._line.wait(seconds):
            if needed:
                raise TimeoutError(f'the hub did not answer within {seconds:g} s')
            return False
        for frame in self._line.read():
            if frame.op == 'deliver':
                self._add(frame.header, frame.body)
            elif frame.op == 'consuming':
                self._consuming = True
                self.backlog = int(frame.header['waiting'])
            elif frame.op == 'ping':
                self._line.send({'op': 'pong'})
        return True

    def _add(self, header: dict[str, Any], body: bytes) -> None:
        size = len(body)
        kept = body if size <= self._max_size else None
        self._waiting.append(deliveries.Delivery(int(header['tag']), size, kept))
