# SPDX-License-Identifier: Apache-2.0
"""A descriptor at whose other end a client is."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable

from guestagent import loop as loops
from guestagent_qga import answers, session
from guestagent_qga import guest as guests

#: What is read at once, in bytes; and so much of a long text is made bytes at once.
READ_SIZE = 64 * 1024
PIECE = 1024 * 1024

#: So many bytes may wait to be sent; then nothing more is read from the client.
UNSENT_MAX = 8 * 1024 * 1024


class Connection:
    """Reads requests, writes answers, never waits; everything is on the loop.

    :param closed: called with the reason when the descriptor is of no use any more:
        ``None`` for the end of what it has to read.  It closes, or resets.
    :param drains: whether answers still leave after that end: a client may have closed
        only its own side.
    """

    def __init__(
        self,
        loop: loops.Loop,
        descriptor: int,
        guest: guests.Guest,
        work: session.Work,
        closed: Callable[[OSError | None], None],
        drains: bool = False,
    ) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._guest = guest
        self._work = work
        self._closed = closed
        self._drains = drains
        self._at_end = False
        self._out: collections.deque[bytes | str] = collections.deque()
        self._out_size = 0
        self._begun: memoryview | None = None
        self._events = 0
        self._paused = False
        self._open = True
        self._session = self._new_session()
        os.set_blocking(descriptor, False)
        self._watch()

    @property
    def is_idle(self) -> bool:
        """Whether each request has been answered, and the answers have left."""
        return self._session.is_idle and not self._unsent

    def reset(self) -> None:
        """Forget the client: who comes next is another."""
        self._at_end = False
        self._session.close()
        self._session = self._new_session()
        self._out.clear()
        self._out_size = 0
        self._begun = None

    def pause(self, paused: bool = True) -> None:
        """Read nothing for now; answers still leave."""
        self._paused = paused
        self._watch()

    def close(self) -> None:
        """Close the descriptor; nothing is called back any more."""
        self._open = False
        self._session.close()
        self._loop.unwatch(self._descriptor)
        os.close(self._descriptor)

    def _new_session(self) -> session.Session:
        return session.Session(
            self._guest, self._work, self._send, self._loop.call_soon
        )

    @property
    def _unsent(self) -> bool:
        return self._begun is not None or bool(self._out)

    def _watch(self) -> None:
        """Wait for what can be done now; the kernel reports a hang-up without."""
        if self._at_end and self._drains:
            self._paused = True
            if self.is_idle:
                self._loop.call_soon(self._ended, self._session)
        full = self._session.is_full or self._out_size > UNSENT_MAX
        events = 0 if self._paused or full else loops.READ
        if self._unsent:
            events |= loops.WRITE
        if events == self._events:
            return
        self._events = events
        if events:
            self._loop.watch(self._descriptor, events, self._ready)
        else:
            self._loop.unwatch(self._descriptor)

    def _ready(self, events: int) -> None:
        try:
            if events & ~loops.WRITE and self._events & loops.READ:
                self._read()
            elif events & ~(loops.READ | loops.WRITE):
                # It has gone, and nothing is to be read that would tell why.
                raise ConnectionResetError('the other end has gone')
            self._write()
        except BlockingIOError:
            pass
        except OSError as error:
            self._closed(error)
            return
        except EOFError:
            self._at_end = True
            if not self._drains:
                self._closed(None)
                return
        self._watch()

    def _read(self) -> None:
        data = os.read(self._descriptor, READ_SIZE)
        if not data:
            raise EOFError
        self._session.feed(data)

    def _send(self, line: answers.Line) -> None:
        """Take a line, and send of it what the descriptor takes now."""
        self._out.extend(line)
        self._out_size += sum(map(len, line))
        try:
            self._write()
        except BlockingIOError:
            pass
        except OSError as error:
            # Later: whoever sends is in the middle of something.
            self._loop.call_soon(self._failed, self._session, error)
            return
        self._watch()

    def _ended(self, of: session.Session) -> None:
        if self._open and of is self._session and self.is_idle:
            self._closed(None)

    def _failed(self, of: session.Session, error: OSError) -> None:
        if self._open and of is self._session:
            self._closed(error)

    def _write(self) -> None:
        while self._unsent:
            if self._begun is None:
                self._begun = memoryview(self._next_bytes())
            sent = os.write(self._descriptor, self._begun)
            self._out_size -= sent
            self._begun = self._begun[sent:] if sent < len(self._begun) else None

    def _next_bytes(self) -> bytes:
        """Take small pieces together, and long text apart."""
        first = self._out.popleft()
        if isinstance(first, str):
            if len(first) > PIECE:
                self._out.appendleft(first[PIECE:])
            return first[:PIECE].encode('ascii')
        while self._out and isinstance(self._out[0], bytes) and len(first) < PIECE:
            first += self._out.popleft()  # type: ignore[operator]
        return first
