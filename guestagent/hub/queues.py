# SPDX-License-Identifier: Apache-2.0
"""Messages that wait in the hub, within bounds of count, bytes and age; no I/O."""

from __future__ import annotations

import collections
import dataclasses
from typing import Protocol

from guestagent.bus.framing import Outcome


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may wait.

    :ivar count: of messages in one queue.
    :ivar queue_bytes: of the messages in one queue; a single one may be larger.
    :ivar total_bytes: of all messages that the hub holds.
    :ivar age: in seconds.
    """

    count: int = 1000
    queue_bytes: int = 32 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024
    age: float = 3600.0


#: What a message takes beside its body, in bytes: an empty one counts as well.
OVERHEAD = 512


class Peer(Protocol):
    """A connection, as queues see it."""

    @property
    def has_room(self) -> bool:
        """Whether it reads what it is sent."""

    def deliver(self, subscription: Subscription, tag: int, message: Message) -> None:
        """Send a message."""

    def settle(self, number: int, outcome: Outcome, reason: str) -> None:
        """Say what became of a message that it published."""


class Publication:
    """What a publisher wants to know of a message, and of its copies together.

    :param done: whether it wants to know that consumers have acknowledged it;
        otherwise only what went wrong.
    """

    __slots__ = ('_done', '_left', '_number', '_peer')

    def __init__(self, peer: Peer, number: int, done: bool) -> None:
        self._peer = peer
        self._number = number
        self._done = done
        self._left = 1

    def copied(self, times: int) -> None:
        """Note that so many consumers will answer for it."""
        self._left = times

    def end(self, outcome: Outcome, reason: str = '') -> None:
        """Note what became of one copy; the publisher hears of the first bad end, or
        of the last good one."""
        if self._left <= 0:
            return
        self._left -= 1
        if outcome is not Outcome.ACKNOWLEDGED:
            self._left = 0
        if not self._left and (self._done or outcome is not Outcome.ACKNOWLEDGED):
            self._peer.settle(self._number, outcome, reason)


class Message:
    """A message on its way; copies share the body.

    :ivar reply: the reply queue that its sender waits at, or ``''``.
    :ivar expires: the monotonic time at which nobody wants it any more.
    :ivar timed: whether the sender set that time, and not the hub.
    """

    __slots__ = ('body', 'expires', 'publication', 'redelivered', 'reply', 'timed')

    def __init__(
        self,
        body: bytes,
        expires: float,
        timed: bool = False,
        reply: str = '',
        publication: Publication | None = None,
    ) -> None:
        self.body = body
        self.expires = expires
        self.timed = timed
        self.reply = reply
        self.publication = publication
        self.redelivered = False

    @property
    def size(self) -> int:
        """What it takes in memory, more or less, in bytes."""
        return len(self.body) + OVERHEAD

    def end(self, outcome: Outcome, reason: str = '') -> None:
        """Tell the publisher what became of it."""
        if self.publication is not None:
            self.publication.end(outcome, reason)


class Subscription:
    """One peer's wish for the messages of a queue.

    :ivar number: the peer's own name for it.
    :ivar prefetch: how many it takes before it acknowledges the first.
    :ivar acknowledges: whether it does; otherwise what is sent counts as taken.
    """

    __slots__ = (
        'acknowledges',
        'number',
        'peer',
        'prefetch',
        'queue',
        'unacknowledged',
    )

    def __init__(
        self, peer: Peer, number: int, queue: Queue, prefetch: int, acknowledges: bool
    ) -> None:
        self.peer = peer
        self.number = number
        self.queue = queue
        self.prefetch = prefetch
        self.acknowledges = acknowledges
        self.unacknowledged: dict[int, Message] = {}

    @property
    def ready(self) -> bool:
        """Whether it can take a message now."""
        return len(self.unacknowledged) < self.prefetch and self.peer.has_room


class Store:
    """The bytes that all queues of a hub hold."""

    __slots__ = ('bytes', 'limits')

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0


class Queue:
    """Messages in order, for subscriptions in turn.

    :param kept: whether it stays when it is empty and nobody takes from it.
    """

    __slots__ = ('_bytes', '_store', '_tags', '_turns', '_waiting', 'kept', 'name')

    def __init__(self, name: str, store: Store, kept: bool) -> None:
        self.name = name
        self.kept = kept
        self._store = store
        self._bytes = 0
        self._tags = 0
        self._waiting: collections.deque[Message] = collections.deque()
        self._turns: collections.deque[Subscription] = collections.deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def unused(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self.kept or self._turns or self._waiting)

    def put(self, message: Message) -> str:
        """Take a message; return ``''``, or why there is no room for it."""
        limits, size = self._store.limits, message.size
        if len(self._waiting) >= limits.count:
            return f'{limits.count} messages wait for {self.name} already'
        if self._waiting and self._bytes + size > limits.queue_bytes:
            return f'{self._bytes} bytes wait for {self.name} already'
        if self._store.bytes and self._store.bytes + size > limits.total_bytes:
            return f'the hub holds {self._store.bytes} bytes already'
        self._waiting.append(message)
        self._count(size)
        self.dispatch()
        return ''

    def dispatch(self) -> None:
        """Deliver what can be delivered, to each subscription in turn."""
        while self._waiting:
            subscription = self._next()
            if subscription is None:
                return
            message = self._waiting.popleft()
            self._tags += 1
            subscription.unacknowledged[self._tags] = message
            subscription.peer.deliver(subscription, self._tags, message)
            if not subscription.acknowledges:
                self._taken(subscription, self._tags)

    def subscribe(
        self, peer: Peer, number: int, prefetch: int, acknowledges: bool = True
    ) -> Subscription:
        """Let a peer take messages."""
        subscription = Subscription(peer, number, self, prefetch, acknowledges)
        self._turns.append(subscription)
        self.dispatch()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Let it take no more; what it has not acknowledged comes first again."""
        self._turns.remove(subscription)
        for message in reversed(subscription.unacknowledged.values()):
            message.redelivered = True
            self._waiting.appendleft(message)
        subscription.unacknowledged.clear()
        self.dispatch()

    def acknowledge(self, subscription: Subscription, tag: int) -> None:
        """Let go of one message; an unknown tag is nobody's fault."""
        self._taken(subscription, tag)
        if self._waiting:
            self.dispatch()

    def requeue(self, subscription: Subscription, tag: int) -> None:
        """Put a message back at the end, so that another comes first."""
        message = subscription.unacknowledged.pop(tag, None)
        if message is not None:
            message.redelivered = True
            self._waiting.append(message)
            self.dispatch()

    def expire(self, now: float) -> int:
        """Let go of what has waited too long; return how many that were."""
        if not self._waiting:
            return 0
        late = [message for message in self._waiting if message.expires <= now]
        if late:
            self._waiting = collections.deque(
                message for message in self._waiting if message.expires > now
            )
        self._drop(late, Outcome.EXPIRED, f'it waited too long for {self.name}')
        return len(late)

    def clear(self) -> None:
        """Let go of all that waits: nobody will take it."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._drop(waiting, Outcome.RETURNED, f'nobody takes from {self.name} any more')

    def _taken(self, subscription: Subscription, tag: int) -> None:
        message = subscription.unacknowledged.pop(tag, None)
        if message is not None:
            self._count(-message.size)
            message.end(Outcome.ACKNOWLEDGED)

    def _drop(self, messages: list[Message], outcome: Outcome, reason: str) -> None:
        for message in messages:
            self._count(-message.size)
            message.end(outcome, reason)

    def _next(self) -> Subscription | None:
        """Return whose turn it is, of those that can take a message."""
        for _ in range(len(self._turns)):
            subscription = self._turns[0]
            self._turns.rotate(-1)
            if subscription.ready:
                return subscription
        return None

    def _count(self, size: int) -> None:
        self._bytes += size
        self._store.bytes += size
