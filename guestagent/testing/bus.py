# SPDX-License-Identifier: Apache-2.0
"""A bus within one process, whose faults are scripted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from guestagent import loop as loops
from guestagent.bus import base, envelope
from guestagent.testing import fates

Item = TypeVar('Item')

#: Seconds after which what is held arrives though nothing came behind it.
HELD_SECONDS = 0.1
#: Seconds until a lost connection is there again.
RECONNECT_SECONDS = 0.01


class Wire(Generic[Item]):
    """One direction of the bus.

    :ivar script: what becomes of the next messages; everything passes at its end.
    :param deliver: takes each item that arrives, with its fate, on the loop.
    """

    def __init__(
        self, loop: loops.Loop, deliver: Callable[[Item, fates.Fate], None]
    ) -> None:
        self.script: Iterator[fates.Fate] = iter(())
        self._loop = loop
        self._deliver = deliver
        self._held: list[tuple[Item, fates.Fate]] = []

    def send(self, item: Item) -> None:
        """Carry an item as the script says."""
        fate = next(self.script, fates.PASS)
        if fate.held:
            self._held.append((item, fate))
            self._loop.call_later(HELD_SECONDS, self._release)
        elif fate.seconds:
            self._loop.call_later(fate.seconds, lambda: self._arrive(item, fate))
        else:
            self._loop.call_soon(self._arrive, item, fate)

    def _arrive(self, item: Item, fate: fates.Fate) -> None:
        self._deliver(item, fate)
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for item, fate in held:
            self._deliver(item, fate)


class Delivery(base.Delivery):
    """A request, as the agent is given it."""

    __slots__ = ('_body', 'acknowledged')

    def __init__(self, body: str, lifetime: float | None) -> None:
        super().__init__(lifetime)
        self._body = body
        self.acknowledged = False

    def read(self) -> envelope.Message:
        """See the base class."""
        return envelope.read(self._body)

    def acknowledge(self) -> None:
        """See the base class."""
        self.acknowledged = True


class Bus(base.Bus):
    """What an agent of :mod:`guestagent.testing.agent` is connected to.

    :ivar requests: the way to the agent, as ``replies`` and ``reports`` are the ways
        back.
    :param take_reply: is given each reply that arrives.
    :param take_report: is given the body of each report that arrives.
    """

    def __init__(
        self,
        loop: loops.Loop,
        take_reply: Callable[[base.Reply], None],
        take_report: Callable[[str], None],
    ) -> None:
        self.requests: Wire[tuple[str, float | None]] = Wire(loop, self._come_in)
        self.replies: Wire[base.Reply] = Wire(loop, self._answer)
        self.reports: Wire[int] = Wire(loop, self._take)
        self.deliveries: list[Delivery] = []
        self._loop = loop
        self._take_reply = take_reply
        self._take_report = take_report
        self._numbers = itertools.count()
        self._bodies: dict[int, str] = {}
        self._unconfirmed: dict[int, Callable[[base.Sent], None]] = {}
        self._received: Callable[[base.Delivery], None] | None = None
        self._reconnected: Callable[[], None] = lambda: None

    def start(
        self, received: Callable[[base.Delivery], None], connected: Callable[[], None]
    ) -> None:
        """See the base class."""
        self._received, self._reconnected = received, connected
        self._loop.call_soon(self.connect)

    def request(self, body: str, lifetime: float | None) -> None:
        """Send a request to the agent."""
        self.requests.send((body, lifetime))

    def reply(
        self, reply: base.Reply, done: Callable[[base.Sent], None] | None = None
    ) -> None:
        """See the base class; here a queue is never gone."""
        self.replies.send(reply)
        if done is not None:
            done(base.Sent.CONFIRMED)

    def report(self, body: str, done: Callable[[base.Sent], None]) -> None:
        """See the base class."""
        number = next(self._numbers)
        self._bodies[number], self._unconfirmed[number] = body, done
        self.reports.send(number)

    def is_gone(self, queue: str) -> bool:
        """See the base class."""
        return False

    def pause(self) -> None:
        """See the base class."""
        self._received = None

    def close(self) -> None:
        """See the base class."""
        self.connected = False

    def connect(self) -> None:
        """Be connected (again)."""
        if not self.connected:
            self.connected = True
            self._reconnected()

    def disconnect(self) -> None:
        """Lose the connection: nothing that is on its way will be confirmed."""
        self.connected = False
        lost, self._unconfirmed = self._unconfirmed, {}
        for done in lost.values():
            done(base.Sent.LOST)

    def _come_in(self, item: tuple[str, float | None], fate: fates.Fate) -> None:
        for _ in range(fate.copies):
            if self._received is not None:
                delivery = Delivery(*item)
                self.deliveries.append(delivery)
                self._received(delivery)

    def _answer(self, reply: base.Reply, fate: fates.Fate) -> None:
        for _ in range(fate.copies):
            self._take_reply(reply)

    def _take(self, number: int, fate: fates.Fate) -> None:
        body = self._bodies.pop(number)
        if fate.refusal is not None:
            self._confirm(number, fate.refusal)
            return
        if fate.copies:
            self._take_report(body)
        if fate.copies == 1:
            self._confirm(number, base.Sent.CONFIRMED)
        elif self.connected:
            # Once more, or never: it is the agent that sends it again.
            self.disconnect()
            self._loop.call_later(RECONNECT_SECONDS, self.connect)

    def _confirm(self, number: int, sent: base.Sent) -> None:
        done = self._unconfirmed.pop(number, None)
        if done is not None:
            done(sent)
