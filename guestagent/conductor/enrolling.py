# SPDX-License-Identifier: Apache-2.0
"""The part of a conductor that lets guests in: what it is made of, and its end."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import oslo_messaging
import sqlalchemy.exc

from guestagent.bus import where
from guestagent.conductor import api, broker, enrolments, rpc, vhosts
from guestagent.conductor.db import engine
from guestagent.enroll import exchange, operator
from guestagent.seal import keys

#: How many guests are answered at once; an exchange takes milliseconds.
_WORKERS = 2


class Enrolling:
    """What knows of enrolments, and the server that guests with a token speak to.

    :param bus: a transport of its own; ``None``: a hub's guests have no such need.
    :ivar vhosts: takes the reports of guests in virtual hosts of their own; ``None``:
        none can be there.
    :ivar operators: the endpoint for the server of queries.
    :ivar revoked: the instances that were cut off; it changes.
    """

    def __init__(
        self, known: enrolments.Enrolments, bus: Any, forget: enrolments.Forget
    ) -> None:
        self._known = known
        self.vhosts: vhosts.Vhosts | None = None
        self.operators = enrolments.Operators(known, forget)
        self.revoked = known.revoked
        self._server: rpc.Server | None = None
        if bus is not None:
            self._server = rpc.Server(
                bus,
                [enrolments.Guests(known)],
                _WORKERS,
                exchange.TOPIC,
                exchange.TOPIC,
            )

    def listen(
        self, hosts: Sequence[broker.Host], make: vhosts.Make, limit: int
    ) -> None:
        """Have reports taken from the virtual hosts of guests, too.

        :param limit: from how many.
        """
        if self._server is not None:
            self.vhosts = vhosts.Vhosts(lambda: self._known.vhosts, hosts, make, limit)

    def start(self) -> None:
        """Read who was cut off, and serve.

        :raises guestagent.conductor.db.engine.DatabaseError: that cannot be read.
        """
        try:
            self._known.start()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise engine.DatabaseError(
                f'cannot read who was cut off: {engine.explain(error)}'
            ) from None
        for part in (self._server, self.vhosts):
            if part is not None:
                part.start()

    def stop(self, seconds: float) -> bool:
        """End what is in hand; return whether that was in time."""
        deadline = time.monotonic() + seconds
        parts = [self._known, self._server, self.vhosts]
        ended = [
            part.stop(max(0.0, deadline - time.monotonic()))
            for part in parts
            if part is not None
        ]
        return all(ended)


def make(
    conf: Any, database: engine.Database, lines: Callable[[], Sequence[keys.Line]]
) -> Enrolling | None:
    """Return it; ``None``: there are no keys, so there is nothing to be handed out.

    :param lines: returns the conductor's keys.
    """
    if not lines():
        return None
    known = enrolments.Enrolments(database, lambda: operator.Desk(lines(), time.time()))
    url = oslo_messaging.TransportURL.parse(conf)
    channel = url.transport == where.SCHEME
    forget = functools.partial(api.forget, database)
    return Enrolling(known, None if channel else rpc.transport(conf), forget)
