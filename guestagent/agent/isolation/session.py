# SPDX-License-Identifier: Apache-2.0
"""One life of an extension's process: who asks what, and who waits for which answer."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent.agent.isolation import hello, limits, process, stdio

LOG = logging.getLogger(__name__)

#: Seconds that a process has until it says hello, and that it then has to start.
HELLO_SECONDS, START_SECONDS = 20.0, 60.0
#: Seconds that a command which was cancelled has to end before the process is killed.
CANCEL_SECONDS = 5.0
#: How many calls of other extensions one process may have in flight.
ASKED = 16


class Waiter:
    """What one request waits in; answered once, from any thread."""

    __slots__ = ('_error', '_lead', '_lock', '_result', 'context')

    def __init__(
        self,
        context: extension.Context | None = None,
        lead: Callable[[Callable[[], bool]], None] | None = None,
    ) -> None:
        self.context = context
        self._lead = lead
        self._result: Any = None
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def answer(self, result: Any, error: Exception | None = None) -> None:
        """End the wait."""
        self._result, self._error = result, error
        self._lock.release()

    def answered(self) -> bool:
        """Whether the wait is over."""
        return not self._lock.locked()

    def wait(self, seconds: float = -1) -> Any:
        """Return the result.

        :param seconds: how long to wait; -1: for ever.
        :raises TimeoutError: it did not come.
        :raises: the error that came instead.
        """
        if seconds < 0 and self._lead is not None:
            self._lead(self.answered)
        if not self._lock.acquire(timeout=seconds):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result


class Session:
    """A process that speaks the protocol.

    :param host: what takes its facts and events, and its calls of other extensions.
    :param ended: is told how it ended, once, before those who wait.
    :raises OSError: the guest is short of what it takes.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        bounds: limits.Limits,
        host: extension.Host,
        ended: Callable[[Session, process.End], None],
    ) -> None:
        self._name = name
        self._host = host
        self._told = ended
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Waiter] = {}
        self._hello: Waiter | None = Waiter()
        self._greeting = self._hello
        self._end: process.End | None = None
        self._closing = False
        self._asked = threading.BoundedSemaphore(ASKED)
        #: What the extension said last of its health.
        self.health = 'ok'
        #: Whether it holds what outlives a command.
        self.busy = False
        self._process = process.Process(name, argv, bounds, self._take, self._ended)

    def open(self) -> hello.Hello:
        """Return what it says of itself; the first thing to ask.

        :raises guestagent.errors.ExtensionDied: it does not say it, and so is killed.
        """
        try:
            return hello.read(self._greeting.wait(HELLO_SECONDS))
        except TimeoutError:
            raise self._fail(f'it said no hello within {HELLO_SECONDS:g} s') from None
        except stdio.Broken as error:
            raise self._fail(str(error)) from None

    def configure(self, options: Mapping[str, str | list[str]], start: bool) -> None:
        """Give it its options, and start it.

        :raises guestagent.errors.ExtensionDied: it does not answer.
        :raises: what it raises.
        """
        about = {
            'options': options,
            'own_paths': list(self._host.own_paths()),
            'line_max': stdio.LINE_MAX,
        }
        steps: list[tuple[str, dict[str, Any]]] = [('configure', about)]
        if start:
            steps.append(('start', {}))
        for kind, fields in steps:
            try:
                self.ask(kind, fields).wait(START_SECONDS)
            except TimeoutError:
                raise self._fail(
                    f'it did not {kind} within {START_SECONDS:g} s'
                ) from None

    def ask(
        self,
        kind: str,
        fields: Mapping[str, Any],
        context: extension.Context | None = None,
    ) -> Waiter:
        """Send a request and return what its answer will come in.

        :param context: of a command: its end is told to the process.
        :raises guestagent.errors.ExtensionDied: there is no process any more; nothing
            was sent.
        :raises guestagent.errors.GuestError: nobody waits for the command any more.
        """
        if context is not None:
            context.check()  # it may have waited long for the start
        number = next(self._ids)
        waiter = Waiter(context, self._process.lead)
        with self._lock:
            if self._end is not None:
                raise self._died(self._end)
            if self._closing:
                raise errors.ExtensionDied(f'extension {self._name} is being stopped')
            self._waiting[number] = waiter
        try:
            self._process.send({'type': kind, 'id': number, **fields})
        except (TypeError, ValueError, RecursionError):
            self._waiting.pop(number, None)
            raise
        if context is not None:
            context.on_cancel(lambda: self._cancel(number, waiter))
        return waiter

    @property
    def pid(self) -> int:
        """The id of the process, which may have ended."""
        return self._process.pid

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back in so many seconds, if the process still lives."""
        self._process.at(seconds, call)

    def close(self) -> bool:
        """Take no more requests, unless one waits; return whether it is so."""
        with self._lock:
            self._closing = not self._waiting
            return self._closing

    def stop(self) -> None:
        """Let it end; return at once."""
        self._process.stop({'type': 'stop', 'id': next(self._ids)})

    def kill(self, fault: str) -> None:
        """End it at once for what it did."""
        self._process.kill(fault)

    def wait_ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        return self._process.ended.wait(seconds)

    def _fail(self, fault: str) -> errors.ExtensionDied:
        """Kill it, and return what to raise."""
        self._process.kill(fault)
        self._process.ended.wait(process.TERM_SECONDS)
        return errors.ExtensionDied(f'extension {self._name} was killed: {fault}')

    def _died(self, end: process.End) -> errors.ExtensionDied:
        last = f'; its last words: {end.stderr[-1]}' if end.stderr else ''
        return errors.ExtensionDied(
            f'the process of extension {self._name} ended: {end.reason}{last}'
        )

    def _cancel(self, number: int, waiter: Waiter) -> None:
        """Tell the process that nobody waits; one that does not care is killed."""
        context = waiter.context
        if context is None or number not in self._waiting:
            return
        try:
            context.check()
        except errors.GuestError as reason:
            about = stdio.failure(reason)
            self._process.send({'type': 'cancel', 'id': number, **about})
            self._process.at(CANCEL_SECONDS, lambda: self._insist(number))

    def _insist(self, number: int) -> None:
        if number in self._waiting:
            self._process.kill(
                f'a command that was cancelled did not end within {CANCEL_SECONDS:g} s'
            )

    def _take(self, message: stdio.Message) -> bool:
        """Take a message of the process; on the thread that reads.

        :returns: whether somebody had asked for it.
        """
        kind = message['type']
        if self._hello is not None:
            self._hello.answer(message)
            self._hello = None
            return True
        if kind in ('result', 'error'):
            waiter = self._waiting.pop(_number(message), None)
            if waiter is not None:
                error = stdio.error(message) if kind == 'error' else None
                waiter.answer(message.get('result'), error)
            return waiter is not None
        if kind == 'facts':
            self._host.report_facts(self._name, _object(message, 'facts'))
        elif kind == 'event':
            name, data = str(message.get('name')), _object(message, 'data')
            self._host.report_event(self._name, name, data)
        elif kind == 'progress':
            self._note_progress(message)
        elif kind == 'health':
            self.health = str(message.get('text', 'ok'))
        elif kind == 'busy':
            self.busy = bool(message.get('busy'))
        elif kind in ('call', 'hold', 'release') or (
            kind == 'note' and 'id' in message
        ):
            self._call(message)
        elif kind == 'note':
            self._record(message, needed=False)
        else:
            LOG.debug('extension %s: unknown message %r', self._name, kind)
        return False

    def _note_progress(self, message: stdio.Message) -> None:
        percent = message.get('percent')
        if percent is not None and type(percent) not in (int, float):
            raise stdio.Broken(f'percent of a progress is {percent!r}, not a number')
        number = message.get('for')
        waiter = self._waiting.get(number) if isinstance(number, int) else None
        # A command that has ended has no progress.
        if waiter is not None and waiter.context is not None:
            waiter.context.report_progress(percent, str(message.get('text', '')))

    def _call(self, message: stdio.Message) -> None:
        """Do what it asks of us on a thread of its own: it may take long."""
        if self._asked.acquire(blocking=False):
            threading.Thread(
                target=self._answer, args=(message,), name='asked', daemon=True
            ).start()
            return
        busy = errors.Busy(f'an extension may have {ASKED} calls of others in flight')
        answer = {'type': 'error', 'id': message.get('id'), **stdio.failure(busy)}
        self._process.send(answer)

    def _answer(self, message: stdio.Message) -> None:
        """Do what it asks of us, and tell the process what came of it."""
        try:
            result = self._do(message)
            answer = {'type': 'result', 'id': message.get('id'), 'result': result}
            self._process.send(answer)
        except Exception as error:  # noqa: BLE001 (the process is told)
            answer = {'type': 'error', 'id': message.get('id'), **stdio.failure(error)}
            self._process.send(answer)
        finally:
            self._asked.release()

    def _do(self, message: stdio.Message) -> Any:
        if message['type'] == 'hold':
            devices, seconds = message.get('devices'), message.get('seconds')
            if not isinstance(devices, list) or type(seconds) not in (int, float):
                raise ValueError('hold takes devices, a list, and seconds, a number')
            return self._host.hold_storage(
                self._name, [str(each) for each in devices], float(seconds or 0)
            )
        if message['type'] == 'release':
            return self._host.release_storage(self._name)
        if message['type'] == 'note':
            return self._record(message, needed=True)
        number = message.get('for')
        asker = self._waiting.get(number) if isinstance(number, int) else None
        return self._host.call(
            str(message.get('extension')),
            str(message.get('method')),
            _object(message, 'args'),
            asker.context if asker is not None else None,
        )

    def _record(self, message: stdio.Message, needed: bool) -> None:
        context = extension.Context(
            str(message.get('caller', '')),
            str(message.get('command_id', '')),
            proven=message.get('proven') is True,
        )
        method, about = str(message.get('method')), _object(message, 'about')
        self._host.record_note(self._name, method, context, about, needed)

    def _ended(self, end: process.End) -> None:
        """Answer all who wait; on the thread that listened."""
        with self._lock:
            self._end = end
            waiting, self._waiting = self._waiting, {}
        if self._hello is not None:
            waiting[0], self._hello = self._hello, None
        # First: who is told of the end may ask again at once.
        self._told(self, end)
        for waiter in waiting.values():
            waiter.answer(None, self._died(end))


def _number(message: stdio.Message) -> int:
    number = message.get('id')
    if type(number) is not int:
        raise stdio.Broken(f'a {message["type"]} has the id {number!r}')
    return number


def _object(message: stdio.Message, key: str) -> dict[str, Any]:
    value = message.get(key, {})
    if not isinstance(value, dict):
        raise stdio.Broken(f'{key} of a message is {value!r}, not an object')
    return value
