# SPDX-License-Identifier: Apache-2.0
"""One client: its requests are answered in their order, one at a time; no I/O.

So a client that sends the next one before it has the answer gets what it expects, and
other clients do not wait for it.
"""

from __future__ import annotations

import collections
import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

from guestagent_qga import answers, errors, requests, schema, stream
from guestagent_qga import guest as guests

LOG = logging.getLogger(__name__)

#: So many requests may wait; then nothing more is read from the client.
WAITING_MAX = 64


class Work(Protocol):
    """Where what takes time is done."""

    def submit(self, function: Callable[[], None]) -> None:
        """Have it called on another thread."""


class Session:
    """Takes what a client sends, gives lines.

    Everything here is called on one thread but what it submits.

    :param send: takes a line.
    :param call_soon: calls back on the session's thread, from any other.
    """

    def __init__(
        self,
        guest: guests.Guest,
        work: Work,
        send: Callable[[answers.Line], None],
        call_soon: Callable[..., None],
    ) -> None:
        self._guest = guest
        self._work = work
        self._send = send
        self._call_soon = call_soon
        self._stream = stream.Stream()
        self._waiting: collections.deque[Any] = collections.deque()
        self._running = False
        self._open = True

    @property
    def is_full(self) -> bool:
        """Whether no more should be read for now."""
        return len(self._waiting) >= WAITING_MAX

    @property
    def is_idle(self) -> bool:
        """Whether each request has its answer."""
        return not self._running and not self._waiting

    def feed(self, data: bytes) -> None:
        """Take a piece of what the client sends."""
        self._waiting.extend(self._stream.feed(data))
        self._advance()

    def reset(self) -> None:
        """Forget half a message: another client may be at the other end."""
        self._stream = stream.Stream()

    def close(self) -> None:
        """Answer nothing any more."""
        self._open = False
        self._waiting.clear()

    def _advance(self) -> None:
        while self._waiting and not self._running:
            message = self._waiting.popleft()
            try:
                if isinstance(message, stream.Bad):
                    raise errors.CommandError(message.text)
                request = requests.read(message)
                command = self._guest.find(request.name)
            except errors.CommandError as error:
                self._send(_failure(error, requests.echo(message)))
                continue
            if command.quick:
                self._send(_line(self._guest, command, request))
            else:
                self._running = True
                self._work.submit(functools.partial(self._run, command, request))

    def _run(self, command: schema.Command, request: requests.Request) -> None:
        """Answer a request; on a worker."""
        line = _line(self._guest, command, request)
        self._call_soon(self._ended, line)

    def _ended(self, line: answers.Line) -> None:
        self._running = False
        if self._open:
            self._send(line)
            self._advance()


def _line(
    guest: guests.Guest, command: schema.Command, request: requests.Request
) -> answers.Line:
    """Return the answer to a request: no bytes, if it succeeds silently."""
    try:
        result = guest.answer(command, request.arguments)
        if not command.answers:
            return []
        return answers.success(command, result, request.echo)
    except errors.CommandError as error:
        return _failure(error, request.echo)
    except Exception as error:
        # The boundary: whatever happened, the client waits for a line.
        LOG.exception('%s failed', command.name)
        failure = errors.CommandError(f'{type(error).__name__}: {error}')
        return _failure(failure, request.echo)


def _failure(error: errors.CommandError, echo: dict[str, Any]) -> answers.Line:
    try:
        return answers.failure(error, echo)
    except RecursionError:
        return answers.failure(errors.CommandError('the id is too deep to echo'), {})
