# SPDX-License-Identifier: Apache-2.0
"""From an address to the queues of those who want it; no I/O.

The router knows neither sockets nor guests: the two sides of the hub register queues
here and publish.  A guest's queue is found by the function that the side of the guests
gives (:attr:`Router.find_guest`), because its topic is the guest's in every exchange.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import NamedTuple

from guestagent.bus.framing import Outcome
from guestagent.hub import queues

#: For how long a reply queue waits for a program that was lost, in seconds, and how
#: many do: a program comes back under the same name, and soon.
LEFT_SECONDS = 15.0
LEFT_MAX = 1000


class Address(NamedTuple):
    """Where a message goes, in oslo.messaging's words.

    :ivar server: one of the servers of the topic; ``''``: any.
    :ivar fanout: each of the servers of the topic.
    """

    exchange: str
    topic: str
    server: str = ''
    fanout: bool = False

    def __str__(self) -> str:
        server = f', server {self.server}' if self.server else ''
        return f'topic {self.topic}{server}'


class Router:
    """Queues and who is bound to them."""

    def __init__(
        self, limits: queues.Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._store = queues.Store(limits)
        self._queues: dict[tuple[str, str], queues.Queue] = {}
        self._bound: dict[Address, list[queues.Queue]] = {}
        self._replies: dict[str, queues.Queue] = {}
        # Until when they wait; the first ends first.
        self._left: collections.OrderedDict[str, float] = collections.OrderedDict()
        self.find_guest: Callable[[Address, bool], queues.Queue | None] = lambda *_: (
            None
        )

    @property
    def held_bytes(self) -> int:
        """How many bytes wait, or are delivered and not acknowledged."""
        return self._store.bytes

    def expires(self, seconds: float | None) -> float:
        """Return the time until which a message is held."""
        age = self._limits.age
        return self._clock() + (age if seconds is None else min(seconds, age))

    def publish(
        self,
        address: Address,
        message: queues.Message,
        create: bool = False,
        known: bool = False,
    ) -> bool:
        """Give a message to all who want it; return whether anybody may get it.

        :param create: make the queue of the address where there is none.
        :param known: a guest that nobody has heard of yet does not count.
        """
        found = self._bound.get(address)
        if not found:
            guest = self.find_guest(address, known)
            if guest is None and create:
                guest = self.bind(address, '', kept=False)
            if guest is None:
                message.end(Outcome.RETURNED, f'nobody listens at {address}')
                return False
            found = [guest]
        return self._put(found, message)

    def reply(self, name: str, message: queues.Message) -> bool:
        """Give a reply to the one who waits for it; return whether there is one."""
        queue = self._replies.get(name)
        if queue is None:
            message.end(Outcome.RETURNED, f'nobody waits at {name}')
            return False
        return self._put([queue], message)

    def has_reply_queue(self, name: str) -> bool:
        """Whether somebody waits there."""
        return name in self._replies

    def bind(self, address: Address, name: str, kept: bool) -> queues.Queue:
        """Return the queue of this name, made where there is none, bound to an address.

        :param name: ``''``: that of the address.
        :param kept: whether the queue stays when nobody takes from it.
        """
        name = name or str(address)
        queue = self._queues.get((address.exchange, name))
        if queue is None:
            queue = self.new_queue(name, kept)
            self._queues[address.exchange, name] = queue
        queue.kept = queue.kept or kept
        bound = self._bound.setdefault(address, [])
        if queue not in bound:
            bound.append(queue)
        return queue

    def bind_own(self, address: Address) -> queues.Queue:
        """Return a new queue, bound to an address, that is one consumer's alone."""
        queue = self.new_queue(str(address), kept=False)
        self._bound.setdefault(address, []).append(queue)
        return queue

    def bind_reply(self, name: str) -> queues.Queue | None:
        """Return a reply queue, new or left; ``None``: somebody has it."""
        if self._left.pop(name, None) is not None:
            queue = self._replies[name]
            queue.kept = False
            return queue
        if name in self._replies:
            return None
        queue = self._replies[name] = self.new_queue(name, kept=False)
        return queue

    def new_queue(self, name: str, kept: bool) -> queues.Queue:
        """Return a queue that counts with the others and is bound to nothing."""
        return queues.Queue(name, self._store, kept)

    def unsubscribe(self, subscription: queues.Subscription, last: bool) -> None:
        """End a subscription.

        :param last: whether nobody else can ever take from its queue.
        """
        queue = subscription.queue
        queue.unsubscribe(subscription)
        if last:
            queue.clear()
        self._forget_unused(queue)

    def leave(self, subscription: queues.Subscription) -> None:
        """End one whose peer was lost: its reply queue waits for it for a while."""
        queue = subscription.queue
        if self._replies.get(queue.name) is not queue:
            self.unsubscribe(subscription, last=True)
            return
        queue.kept = True
        queue.unsubscribe(subscription)
        self._left[queue.name] = self._clock() + LEFT_SECONDS
        if len(self._left) > LEFT_MAX:
            self._give_up(next(iter(self._left)))

    def expire(self) -> int:
        """Let go of what waited too long; return how many messages that were."""
        now = self._clock()
        while self._left and next(iter(self._left.values())) <= now:
            self._give_up(next(iter(self._left)))
        every = {id(queue): queue for bound in self._bound.values() for queue in bound}
        every.update((id(queue), queue) for queue in self._replies.values())
        count = 0
        for queue in every.values():
            count += queue.expire(now)
            self._forget_unused(queue)
        return count

    def _put(self, found: list[queues.Queue], message: queues.Message) -> bool:
        if len(found) == 1:
            problem = found[0].put(message)
            if problem:
                message.end(Outcome.REJECTED, problem)
            return not problem
        if message.publication is not None:
            message.publication.copied(len(found))
        taken = False
        for queue in found:
            copy = queues.Message(
                message.body,
                message.expires,
                message.timed,
                message.reply,
                message.publication,
            )
            problem = queue.put(copy)
            if problem:
                copy.end(Outcome.REJECTED, problem)
            taken = taken or not problem
        return taken

    def _give_up(self, name: str) -> None:
        """Wait no more for the program of a reply queue."""
        del self._left[name]
        queue = self._replies[name]
        queue.kept = False
        queue.clear()
        self._forget_unused(queue)

    def _forget_unused(self, queue: queues.Queue) -> None:
        if not queue.unused:
            return
        for address in [a for a, bound in self._bound.items() if queue in bound]:
            self._bound[address].remove(queue)
            if not self._bound[address]:
                del self._bound[address]
        for key in [k for k, each in self._queues.items() if each is queue]:
            del self._queues[key]
        for name in [n for n, each in self._replies.items() if each is queue]:
            del self._replies[name]
