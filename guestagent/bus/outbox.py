# SPDX-License-Identifier: Apache-2.0
"""What an AMQP channel has to send: what waits, and what waits for its confirm.

No I/O.  A broker that takes nothing for a while must not fill the guest's memory: so
many bytes are on their way at a time, the other replies wait, and of those the oldest
are given up when they are too many.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable

from guestagent.bus import base

#: How many bytes of replies are on their way at a time; one reply always may be.
WINDOW = 4 * 1024 * 1024
#: How many replies wait at most, and how many bytes they may take (or one reply).
WAITING_COUNT = 10000
WAITING_BYTES = 64 * 1024 * 1024


class Message:
    """One that is sent: where it goes, and its body.

    :ivar body: JSON, and so ASCII: its length is in bytes.
    """

    __slots__ = ('body', 'exchange', 'key')

    def __init__(self, exchange: str, key: str, body: str) -> None:
        self.exchange = exchange
        self.key = key
        self.body = body


class Reply(Message):
    """It waits as long as it must.

    :ivar done: is called with what became of it.
    """

    __slots__ = ('done',)

    def __init__(
        self, queue: str, body: str, done: Callable[[base.Sent], None] | None
    ) -> None:
        super().__init__('', queue, body)
        self.done = done


class Report(Message):
    """A report or a cast: its owner keeps it until ``done`` says CONFIRMED."""

    __slots__ = ('done',)

    def __init__(
        self, exchange: str, key: str, body: str, done: Callable[[base.Sent], None]
    ) -> None:
        super().__init__(exchange, key, body)
        self.done = done


class Outbox:
    """Replies in order, and the messages that the broker has not confirmed yet."""

    def __init__(
        self,
        window: int = WINDOW,
        waiting_count: int = WAITING_COUNT,
        waiting_bytes: int = WAITING_BYTES,
    ) -> None:
        self._window = window
        self._count_max, self._bytes_max = waiting_count, waiting_bytes
        self._waiting: collections.deque[Reply] = collections.deque()
        self._waiting_bytes = 0
        # By their tags, which ascend.
        self._on_way: dict[int, Message] = {}
        self._on_way_bytes = 0
        self._returned: set[int] = set()

    def put(self, reply: Reply) -> list[Reply]:
        """Take a reply; return the oldest that had to be given up for it."""
        self._waiting.append(reply)
        self._waiting_bytes += len(reply.body)
        return self._bounded()

    def take(self) -> Reply | None:
        """Return the next reply to send, if there is one and room on the way."""
        if not self._waiting or self._on_way_bytes >= self._window:
            return None
        reply = self._waiting.popleft()
        self._waiting_bytes -= len(reply.body)
        return reply

    def sent(self, tag: int, message: Message) -> None:
        """Note that a message is on its way under this tag."""
        self._on_way[tag] = message
        self._on_way_bytes += len(message.body)

    def returned(self, tag: int) -> None:
        """Note that a message came back; its confirm follows."""
        self._returned.add(tag)

    def settle(
        self, tag: int, multiple: bool, accepted: bool
    ) -> list[tuple[Message, base.Sent]]:
        """Take a confirm, of one or all up to ``tag``; return what became of each."""
        tags: Iterable[int] = (tag,)
        if multiple:
            tags = list(itertools.takewhile(lambda n: n <= tag, self._on_way))
        settled = []
        for number in tags:
            message = self._on_way.pop(number, None)
            if message is None:
                continue
            self._on_way_bytes -= len(message.body)
            outcome = base.Sent.CONFIRMED if accepted else base.Sent.REJECTED
            if number in self._returned:
                self._returned.discard(number)
                outcome = base.Sent.RETURNED
            settled.append((message, outcome))
        return settled

    def lost(self) -> tuple[list[Report], list[Reply]]:
        """Note that no confirm will come: replies wait again, in their order.

        :returns: the reports that were on their way, and the replies that had to be
            given up.
        """
        messages = list(self._on_way.values())
        self._on_way.clear()
        self._on_way_bytes = 0
        self._returned.clear()
        for message in reversed(messages):
            if isinstance(message, Reply):
                self._waiting.appendleft(message)
                self._waiting_bytes += len(message.body)
        return [m for m in messages if isinstance(m, Report)], self._bounded()

    def _bounded(self) -> list[Reply]:
        given_up = []
        while len(self._waiting) > self._count_max or (
            self._waiting_bytes > self._bytes_max and len(self._waiting) > 1
        ):
            reply = self._waiting.popleft()
            self._waiting_bytes -= len(reply.body)
            given_up.append(reply)
        return given_up
