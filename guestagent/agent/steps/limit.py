# SPDX-License-Identifier: Apache-2.0
"""Refuse what there is no room for, and everything once the agent is stopping."""

from __future__ import annotations

from collections.abc import Callable

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.agent import steps


class Limit(steps.Step):
    """Keeps the number of commands in flight within what the pool holds."""

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        #: Set when the agent begins to stop.
        self.stopping = False

    def admit(self, request: requests.Request) -> None:
        """Let it pass if there is room; what needs no worker of the pool always passes.

        :raises guestagent.errors.Busy: all workers and the backlog are full.
        :raises guestagent.errors.Stopping: the agent takes no more.
        """
        if request.command is not None and request.command.info.inline:
            return
        if self.stopping:
            raise errors.Stopping(
                'the agent is stopping; repeat the request when it is back'
            )
        if request.command is not None and request.command.info.urgent:
            return
        if not self._has_room():
            raise errors.Busy(
                'all workers of the agent are busy and its backlog is '
                'full; repeat the request later'
            )
