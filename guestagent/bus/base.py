# SPDX-License-Identifier: Apache-2.0
"""The small interface between the agent and whatever carries its messages.

A bus lives on the agent's loop: all methods are called there, and all callbacks come
from there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from guestagent.bus import envelope


class Sent(enum.Enum):
    """What became of a message that was given to a bus."""

    #: The bus has it safely, in at least one queue.
    CONFIRMED = 'confirmed'
    #: There is no queue for it.
    RETURNED = 'returned'
    #: The queue is full, or the bus will not have it.
    REJECTED = 'rejected'
    #: The connection was lost before an answer came: it may or may not be there.
    LOST = 'lost'


class Delivery:
    """A request that came.

    :ivar lifetime: seconds for which its sender cares; ``None``: no limit was given.
    """

    __slots__ = ('lifetime',)

    def __init__(self, lifetime: float | None) -> None:
        self.lifetime = lifetime

    def read(self) -> envelope.Message:
        """Return the message; once, because what it was read from is let go.

        :raises guestagent.bus.envelope.Unreadable: it is no request.
        """
        raise NotImplementedError

    def acknowledge(self) -> None:
        """Tell the bus that it need not deliver this again; once, on the loop."""


class Reply:
    """An answer to a request: its result, its failure, or a sign of life.

    :ivar delivery: the request.
    :ivar queue: the reply queue that the request names.
    :ivar body: all of the following as it stands on the wire.
    :ivar result: what the command returned.
    :ivar error: why it failed; ``None`` if it did not.
    :ivar ending: whether this is the last; otherwise it is a sign of life.
    """

    __slots__ = ('body', 'delivery', 'ending', 'error', 'queue', 'result')

    def __init__(
        self,
        delivery: Delivery,
        queue: str,
        body: str,
        result: Any = None,
        error: BaseException | None = None,
        ending: bool = True,
    ) -> None:
        self.delivery = delivery
        self.queue = queue
        self.body = body
        self.result = result
        self.error = error
        self.ending = ending


class Bus:
    """Base class of all buses."""

    #: How often it came to be connected.
    connects = 0
    _connected = False

    @property
    def connected(self) -> bool:
        """Whether messages can be sent and come in at this moment."""
        return self._connected

    @connected.setter
    def connected(self, value: bool) -> None:
        self.connects += value and not self._connected
        self._connected = value

    def start(
        self, received: Callable[[Delivery], None], connected: Callable[[], None]
    ) -> None:
        """Connect, now and whenever the connection is lost; return at once.

        :param received: called with each delivery.
        :param connected: called after each connect, and when there is room again.
        """
        raise NotImplementedError

    def reply(self, reply: Reply, done: Callable[[Sent], None] | None = None) -> None:
        """Send a reply; kept and sent later when there is no connection.

        :param done: called with what became of it: CONFIRMED when the bus has it,
            another when nobody will read it.  A bus that hears of that only later, or
            never, says CONFIRMED first.
        """
        raise NotImplementedError

    def reply_at_once(self, _reply: Reply) -> bool:
        """Send a reply on the thread that calls, any one, if this bus can do so now.

        :returns: whether it has; otherwise the loop must, with :meth:`reply`.
        """
        return False

    def report(self, body: str, done: Callable[[Sent], None]) -> None:
        """Send a report; ``done`` is called once with what became of it.

        :param body: of :func:`guestagent.bus.envelope.notification`.
        """
        raise NotImplementedError

    def cast(self, _topic: str, _body: str, done: Callable[[Sent], None]) -> None:
        """Send a cast to a topic of the control exchange; as :meth:`report`.

        A bus that leads to no such topic says RETURNED.
        """
        done(Sent.RETURNED)

    def is_gone(self, queue: str) -> bool:
        """Whether a reply to this queue was returned in the last minute."""
        raise NotImplementedError

    def reconnect(self, reason: str) -> None:
        """Begin a new connection: what comes on the old one cannot be trusted.

        What was not acknowledged is delivered again, unless nobody waits for it any
        more.  A bus that cannot do this goes on.

        :param reason: for the log.
        """

    def relocate(self, transport_url: str) -> None:
        """Use another URL from the next connection on; only its hosts count."""

    def pause(self) -> None:
        """Take no more requests; what is unacknowledged goes back when we leave."""
        raise NotImplementedError

    def close(self) -> None:
        """Send what is left and disconnect."""
        raise NotImplementedError
