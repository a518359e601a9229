# SPDX-License-Identifier: Apache-2.0
"""A program's connection to the hub, for threads: it comes back by itself.

One thread at a time reads (:mod:`guestagent.bus.driver.turn`), whoever has something to
send writes.  The connection begins with the first use, so that a program may fork
before.  After a loss it is made again, what was
consumed is consumed again, and what the hub has not confirmed is sent again; it is the
receiver who recognises a repeat, by its ``_unique_id``.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from guestagent.bus import attempts, framing
from guestagent.bus.driver import line as lines
from guestagent.bus.driver import pending, turn
from guestagent.bus.framing import Outcome

LOG = logging.getLogger(__name__)

RETRY = attempts.Retry(delay=0.2, splay=0.2, longest=5.0)

Deliver = Callable[[lines.Line, dict[str, Any], bytes], None]


class Connection:
    """A program's way to a hub, over one socket after the other.

    :param path: of the hub's socket for programs.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._changed = threading.Condition()
        # All that follows is used with it held.
        self._line: lines.Line | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._failures = 0
        self._problem = pending.Down(f'hub at {path}: not connected yet')
        self._kept = pending.Kept()
        self._waiters: dict[int, pending.Waiter] = {}
        self._failed: dict[int, Callable[[Exception], None]] = {}
        self._subscriptions: dict[int, tuple[dict[str, Any], Deliver]] = {}
        self._listening = False
        self._consuming: dict[int, threading.Event] = {}
        self._numbers = itertools.count(1)
        self._hurry = threading.Event()
        self._turn = turn.Turn(self._needed)
        # Whether what was read ended somebody's wait; whoever reads may set it.
        self._answered = False

    def publish(
        self,
        header: Mapping[str, Any],
        body: bytes,
        seconds: float | None = None,
        retry: int | None = None,
    ) -> None:
        """Send a message that nobody answers; return when the hub has it.

        It is sent again after a loss, until the hub says that it was acknowledged.

        :param seconds: how long to wait; ``None``: as long as it takes.
        :param retry: how many connections may fail; ``None``: any number.
        :raises pending.Down: as many have.
        :raises pending.Refused: the hub does not take it.
        :raises TimeoutError: it took too long.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        line = self.wait_connected(seconds, retry)
        waiter = pending.Waiter(retry)
        with self._changed:
            number = next(self._numbers)
            kept = {**header, 'id': number, 'held': True, 'done': True}
            self._waiters[number] = waiter
            self._kept.add(number, kept, body)
        try:
            try:
                line.send(kept, body)
            except OSError as error:
                LOG.debug('not sent yet: %s', error)
            self.read_until(waiter.has_ended, pending.left(deadline))
            waiter.wait(pending.left(deadline))
        except BaseException:
            with self._changed:
                self._kept.pop(number)
            raise
        finally:
            with self._changed:
                self._waiters.pop(number, None)

    def request(
        self,
        header: Mapping[str, Any],
        body: bytes,
        failed: Callable[[Exception], None],
        seconds: float | None = None,
        retry: int | None = None,
    ) -> int:
        """Send a message that is answered at a reply queue; return its number.

        The caller then waits, with :meth:`read_until`, and calls :meth:`forget`.

        :param failed: called, by the thread that reads, when there will be no answer:
            with what :meth:`publish` raises.
        :raises pending.Down, TimeoutError: as :meth:`publish`.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            line = self.wait_connected(pending.left(deadline), retry)
            with self._changed:
                number = next(self._numbers)
                self._failed[number] = failed
            try:
                line.send({**header, 'id': number}, body)
                return number
            except BrokenPipeError:
                # The hub had gone before, while the listener rested: the next one
                # gets it.
                self.forget(number)
                self._wait_noticed(line)
            except OSError as error:
                self.forget(number)
                self._turn.call_listener()
                raise pending.Down(f'hub at {self._path}: {error}') from error
            except BaseException:
                self.forget(number)
                raise

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to this request any more."""
        # No lock: it is one step, and each call comes here twice.
        self._failed.pop(number, None)

    def read_until(self, has_ended: Callable[[], bool], seconds: float | None) -> None:
        """Read for a caller who waits alone, for a while, if nobody reads already.

        :param seconds: how long the caller is going to wait.
        """
        short = seconds is not None and seconds < 2 * turn.LEAD_SECONDS
        if short or len(self._failed) + len(self._waiters) > 1:
            self._turn.call_listener()
            return
        if not self._turn.take():
            return
        try:
            line = self._line
            until = time.monotonic() + turn.LEAD_SECONDS
            while line is not None and not has_ended() and time.monotonic() < until:
                self._read_once(line)
        except OSError as error:
            # The listener is called, and notices.
            LOG.debug('hub at %s: %s', self._path, error)
        finally:
            self._turn.give_back()

    def consume(self, header: Mapping[str, Any], deliver: Deliver) -> int:
        """Take messages from now on; return the subscription's number.

        Where there is a hub, it has taken note when this returns.

        :param deliver: called by the thread that reads with each.
        """
        number = next(self._numbers)
        kept = {**header, 'op': 'consume', 'sub': number}
        noted = threading.Event()
        with self._changed:
            self._start()
            self._subscriptions[number] = kept, deliver
            self._consuming[number] = noted
            self._note_listening()
            if self._line is not None:
                self._try_send(self._line, kept)
        self._turn.call_listener()
        noted.wait(lines.ANSWER_SECONDS if self._connected_soon() else 0)
        return number

    def prefetch(self, subscription: int, count: int) -> None:
        """Change how many messages may be unacknowledged; 0: take no more."""
        with self._changed:
            header, deliver = self._subscriptions[subscription]
            self._subscriptions[subscription] = {**header, 'prefetch': count}, deliver
            if self._line is not None:
                change = {'op': 'prefetch', 'sub': subscription, 'prefetch': count}
                self._try_send(self._line, change)

    def cancel(self, subscription: int) -> None:
        """Take no more; what is unacknowledged is delivered to somebody else."""
        with self._changed:
            self._subscriptions.pop(subscription, None)
            self._note_listening()
            if self._line is not None:
                self._try_send(self._line, {'op': 'cancel', 'sub': subscription})

    def wait_connected(self, seconds: float | None, retry: int | None) -> lines.Line:
        """Return the present connection, when there is one.

        :raises pending.Down, TimeoutError: as :meth:`publish`.
        """
        with self._changed:
            self._start()
            if self._line is not None:
                return self._line
            self._hurry.set()
            most = None if retry is None else self._failures + retry

            def settled() -> bool:
                failed = most is not None and self._failures > most
                return self._line is not None or self._closed or failed

            if not self._changed.wait_for(settled, seconds):
                raise TimeoutError(str(self._problem))
            return self._present()

    def _wait_noticed(self, line: lines.Line) -> None:
        """Return when the listener has seen the connection end."""
        self._turn.call_listener()
        with self._changed:
            self._changed.wait_for(lambda: self._line is not line, lines.ANSWER_SECONDS)

    def _present(self) -> lines.Line:
        if self._line is None:
            raise self._problem
        return self._line

    def close(self) -> None:
        """Take leave of the hub, and end the thread."""
        with self._changed:
            self._closed = True
            self._problem = pending.Down('the transport was closed')
            if self._line is not None:
                self._try_send(self._line, {'op': 'bye', 'reason': 'closed'})
                self._line.shut()
            self._changed.notify_all()
        self._hurry.set()
        self._turn.call_listener()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(lines.ANSWER_SECONDS)

    # The thread

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(
                target=self._run, name='channel', daemon=True
            )
            self._thread.start()

    def _connected_soon(self) -> bool:
        """Whether there is a hub, as far as the first attempt tells."""
        try:
            self.wait_connected(lines.ANSWER_SECONDS, 0)
        except OSError:  # both Down and TimeoutError are
            return False
        return True

    def _run(self) -> None:
        backoff = attempts.Backoff(RETRY)
        while not self._closed:
            try:
                line = self._connect()
            except (OSError, ValueError, KeyError) as error:
                self._note_failure(error)
            else:
                backoff.succeeded()
                try:
                    self._read(line)
                except OSError as error:
                    self._lose(line, error)
            if not self._closed:
                self._hurry.clear()
                self._hurry.wait(backoff.failed())

    def _connect(self) -> lines.Line:
        line = lines.Line(self._path)
        try:
            line.greet()
            line.limit_reading(turn.LEAD_SECONDS)
            with self._changed:
                # What is consumed comes last: while we do not read, we can send only
                # as long as nothing comes.
                for header, body in self._kept.all():
                    line.send(header, body)
                for header, _ in self._subscriptions.values():
                    line.send(header)
                self._line = line
                self._changed.notify_all()
        except BaseException:
            line.close()
            raise
        return line

    def _note_failure(self, error: Exception) -> None:
        reason = getattr(error, 'strerror', None) or str(error)
        LOG.debug('hub at %s: %s', self._path, reason)
        with self._changed:
            if not self._closed:
                self._problem = pending.Down(f'hub at {self._path}: {reason}')
            self._failures += 1
            for waiter in list(self._waiters.values()):
                waiter.failed(self._problem)
            self._changed.notify_all()

    def _lose(self, line: lines.Line, error: Exception) -> None:
        """Note that the connection has ended: whoever waits for an answer gets none."""
        if not self._closed:
            LOG.warning('hub at %s: %s; connecting again', self._path, error)
        with self._changed:
            self._line = None
            failed, self._failed = self._failed, {}
        with self._turn.lock:
            line.close()
        problem = pending.Down(f'hub at {self._path}: {error}')
        for callback in failed.values():
            callback(problem)
        self._note_failure(error)

    def _read(self, line: lines.Line) -> None:
        """Read whenever it is the listener's turn.

        :raises OSError: the connection has ended.
        """
        while True:
            self._answered = False
            with self._turn.lock:
                line.wait(None)
                self._read_once(line)
            if self._answered:
                self._turn.rest()

    def _read_once(self, line: lines.Line) -> None:
        """Take what comes within :data:`guestagent.bus.driver.turn.LEAD_SECONDS`.

        :raises OSError: the connection has ended.
        """
        for frame in line.read():
            try:
                self._take(line, frame)
            except (ValueError, KeyError, TypeError) as error:
                LOG.warning(
                    'the hub sent a %.40r that makes no sense: %r', frame.op, error
                )

    def _needed(self) -> bool:
        """Whether anybody waits, or takes what comes at any time."""
        return bool(self._listening or self._failed or self._waiters or self._consuming)

    def _note_listening(self) -> None:
        every = self._subscriptions.values()
        self._listening = any('reply' not in header for header, _ in every)

    def _take(self, line: lines.Line, frame: framing.Frame) -> None:
        header = frame.header
        op = header['op']
        if op == 'deliver':
            found = self._subscriptions.get(header['sub'])
            if found is not None:
                self._answered = True
                found[1](line, header, frame.body)
        elif op == 'settled':
            self._settle(header)
        elif op == 'consuming':
            noted = self._consuming.pop(header['sub'], None)
            if noted is not None:
                noted.set()
        elif op == 'ping':
            self._try_send(line, {'op': 'pong'})
        elif op == 'bye':
            LOG.info('the hub said: %s', header.get('reason'))

    def _settle(self, header: dict[str, Any]) -> None:
        number, outcome = header['id'], Outcome(header['outcome'])
        good = outcome in (Outcome.HELD, Outcome.ACKNOWLEDGED)
        problem = None if good else pending.Refused(outcome, header.get('reason', ''))
        with self._changed:
            if outcome is not Outcome.HELD:
                self._kept.pop(number)
            waiter = self._waiters.pop(number, None)
            failed = None if good else self._failed.pop(number, None)
        if waiter is not None:
            self._answered = True
            waiter.end(problem)
        elif problem is not None and failed is not None:
            failed(problem)
        elif problem is not None:
            LOG.warning('a message was %s: %s', outcome.value, problem)

    def _try_send(self, line: lines.Line, header: dict[str, Any]) -> None:
        try:
            line.send(header)
        except OSError as error:
            # The thread that reads notices, and all is said again.
            LOG.debug('hub at %s: %s', self._path, error)
