# SPDX-License-Identifier: Apache-2.0
"""A bus that confirms, loses, returns and rejects as a test tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from guestagent import loop as loops
from guestagent.agent import spooling
from guestagent.bus import base


class Bus(base.Bus):
    """Keeps what is sent until it is told what became of it.

    :ivar sent: each message as the test has it, and what is to be called.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[Any, Callable[[base.Sent], None]]] = []
        self.connected = True

    def settle(self, what: base.Sent = base.Sent.CONFIRMED) -> list[Any]:
        """Say what became of all that was sent; return that."""
        sent, self.sent = self.sent, []
        for _message, done in sent:
            done(what)
        return [message for message, _done in sent]


def until(loop: loops.Loop, condition: Callable[[], Any]) -> None:
    """Run the loop until something is true."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, 'it did not come true'
        loop.run_once(0.02)


def settle(loop: loops.Loop) -> None:
    """Let the keeper do what it wants to do."""
    end = time.monotonic() + 6 * spooling.SAVE_DELAY
    while time.monotonic() < end:
        loop.run_once(spooling.SAVE_DELAY)
