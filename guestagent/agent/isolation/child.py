# SPDX-License-Identifier: Apache-2.0
"""Host an extension in Python in a process of its own (doc/stdio.rst).

::

    python -m guestagent.agent.isolation.child NAME [MODULE:CLASS]

The agent starts it.  What the extension prints goes to the standard error; the standard
output carries the protocol.  The end of the standard input ends it.
"""

from __future__ import annotations

import collections
import importlib
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from guestagent import entrypoints, errors, extension, imports
from guestagent.agent.isolation import childhost, contexts, describing, stdio

# Types of options that hardly an extension has: a fifth of a second of each start.
imports.defer('netaddr', 'rfc3986')

LOG = logging.getLogger(__name__)

#: How often it is asked for its health and whether it is busy, if it ever says so.
_HEALTH_SECONDS = 5.0
#: Seconds that it may take to stop.
_STOP_SECONDS = 10.0
#: How often it is looked, in seconds, whether a command keeps the thread that reads,
#: and how many times with no new command before that waits for the next one.
_TICK, _TICKS = 0.002, 25
_CHUNK = 65536


class Child:
    """Serves one extension on two descriptors.

    One of its threads reads, and does itself what it has read: to hand it over would
    take as long as the rest of a short command.  When that takes longer than a few
    milliseconds, as the main thread sees, another thread reads on.

    :param reads: where the agent's messages come from.
    :param writes: where ours go.
    """

    def __init__(
        self, name: str, kind: type[extension.Extension], reads: int, writes: int
    ) -> None:
        self._name = name
        self._kind = kind
        self._described = describing.make(name, kind)
        self._reads, self._writes = reads, writes
        self._lock = threading.Lock()
        self._handing = threading.Lock()
        self._turn = 0
        self._begun = 0
        self._busy = False
        self._dozing = True
        self._stirred = threading.Event()
        self._lines = stdio.Lines(sys.maxsize)
        self._read: collections.deque[stdio.Message] = collections.deque()
        self._over = False
        self._made: extension.Extension | None = None
        self._started: extension.Extension | None = None
        self._health = 'ok'
        # It has nothing to say of itself: to ask for it would be a part of each call.
        self._silent = (
            kind.health is extension.Extension.health
            and kind.busy is extension.Extension.busy
        )
        self._holds = False
        self._telling = threading.Lock()
        self._line_max = stdio.LINE_MAX
        #: What is the agent's own, as it says.
        self.own_paths: list[str] = []
        self._contexts: dict[int, extension.Context] = {}
        self._ids = itertools.count(1)
        self._asked: dict[int, _Asked] = {}

    def serve(self) -> None:
        """Answer until the agent says stop, or has gone."""
        self.send({'type': 'hello', **self._described.describe()})
        self._hand_over(0)
        while not self._over:
            self._stirred.wait(None if self._silent else _HEALTH_SECONDS)
            self._stirred.clear()
            self._watch()
            self._tell_state()
        # Where the agent has gone nobody else ends what does not stop.
        last = threading.Timer(_STOP_SECONDS, os._exit, (1,))
        last.daemon = True
        last.start()
        if self._started is not None:
            self._started.stop()

    def _watch(self) -> None:
        """Let another thread read while a command takes long; the main thread."""
        ticks = 0
        while ticks < _TICKS and not self._over:
            begun, turn = self._begun, self._turn
            time.sleep(_TICK)
            if self._busy and self._begun == begun:
                self._hand_over(turn)
            ticks = ticks + 1 if self._begun == begun else 0
            if ticks == _TICKS:
                # Or what begins now, and does not see that we doze, would be missed.
                self._dozing = True
                if self._begun != begun:
                    self._dozing, ticks = False, 0

    def _hand_over(self, turn: int) -> None:
        """Have a new thread read, unless the one whose turn it was reads again."""
        with self._handing:
            if self._turn != turn or (turn and not self._busy):
                return
            self._turn += 1
            self._busy = False
            threading.Thread(
                target=self._work, args=(self._turn,), name='worker', daemon=True
            ).start()

    def _work(self, turn: int) -> None:
        """Read a message and do what it asks, as long as it is our turn; a thread."""
        while True:
            message = self._next()
            if message is None or message['type'] == 'stop':
                self._over = True
                self._stirred.set()
                return
            if message['type'] == 'call':
                # Before another thread can read that it is cancelled.
                self._contexts[message['id']] = contexts.Context(message, self.send)
            self._begun += 1
            self._busy = True
            if self._dozing:
                self._dozing = False
                self._stirred.set()
            try:
                self._take(message)
            except Exception:
                LOG.exception('%r failed', message['type'])
            with self._handing:
                if self._turn != turn:
                    return
                self._busy = False

    def _next(self) -> stdio.Message | None:
        """Return the next message, ``None`` when the agent has gone."""
        while not self._read:
            data = os.read(self._reads, _CHUNK)
            if not data:
                return None
            self._read.extend(self._lines.feed(data))
        return self._read.popleft()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to the agent; from any thread.

        :raises TypeError, ValueError, RecursionError: JSON cannot carry it.
        """
        self._write(stdio.encode(message))

    def ask(
        self,
        name: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None,
    ) -> Any:
        """Have the agent run another extension's command.

        :raises: what that raises.
        """
        running = (key for key, one in list(self._contexts.items()) if one is context)
        return self.request(
            {
                'type': 'call',
                'extension': name,
                'method': method,
                'args': dict(arguments),
                'for': next(running, 0),
            }
        )

    def request(self, fields: Mapping[str, Any]) -> Any:
        """Ask the agent for something, and wait for the answer.

        :raises: what the agent answers.
        """
        number = next(self._ids)
        asked = self._asked[number] = _Asked()
        self.send({**fields, 'id': number})
        # If it is the thread that reads which asks, it could not read the answer.
        self._hand_over(self._turn)
        asked.done.wait()
        if asked.error is not None:
            raise asked.error
        return asked.result

    def _write(self, line: bytes) -> None:
        with self._lock:
            while line:
                line = line[os.write(self._writes, line) :]

    def _take(self, message: stdio.Message) -> None:
        kind = message['type']
        if kind in ('result', 'error'):
            self._take_answer(message)
        elif kind == 'cancel':
            context = self._contexts.get(message['id'])
            error = stdio.error(message)
            if context is not None and isinstance(error, errors.GuestError):
                context.cancel(error)
        else:
            self._run(message)

    def _take_answer(self, message: stdio.Message) -> None:
        asked = self._asked.pop(message['id'], None)
        if asked is not None:
            if message['type'] == 'error':
                asked.error = stdio.error(message)
            asked.result = message.get('result')
            asked.done.set()

    def _run(self, message: stdio.Message) -> None:
        """Do what one request asks for, and answer it; on a worker."""
        number = message['id']
        try:
            line = self._line(number, self._do(message))
        except Exception as error:
            if not isinstance(error, errors.GuestAgentError):
                LOG.exception('%s failed', message.get('method', message['type']))
            answer = {'type': 'error', 'id': number, **stdio.failure(error)}
            line = stdio.encode(answer)
        # First that it must stay: what was opened would be lost with it.
        self._tell_state()
        self._write(line)

    def _line(self, number: int, result: Any) -> bytes:
        """Return the line that carries a result.

        :raises guestagent.errors.BadResult: JSON cannot carry it.
        :raises guestagent.errors.ResultTooLarge: the agent would not read it.
        """
        try:
            line = stdio.encode({'type': 'result', 'id': number, 'result': result})
        except (TypeError, ValueError, RecursionError) as error:
            raise errors.BadResult(
                f'the result cannot be sent as JSON: {error}'
            ) from None
        if len(line) > self._line_max:
            raise errors.ResultTooLarge(
                f'the result takes {len(line)} bytes; the agent reads {self._line_max}'
            )
        return line

    def _do(self, message: stdio.Message) -> Any:
        kind = message['type']
        if kind == 'configure':
            self._line_max = message['line_max']
            self.own_paths = message.get('own_paths', [])
            section = self._described.section(message['options'])
            self._made = self._kind(self._name, section, childhost.Host(self))
            return None
        if self._made is None:
            raise errors.GuestError('it was not configured')
        if kind == 'start':
            self._made.start()
            self._started = self._made
            return None
        if kind == 'periodic':
            return getattr(self._made, message['method'])()
        if kind == 'call':
            return self._call(self._made, message)
        raise errors.GuestError(f'there is no request {kind!r} in this version')

    def _call(self, made: extension.Extension, message: stdio.Message) -> Any:
        number = message['id']
        context = self._contexts[number]
        try:
            return getattr(made, message['method'])(context, **message['args'])
        finally:
            del self._contexts[number]

    def _tell_state(self) -> None:
        """Tell the agent of its health, and whether it is busy, where these changed."""
        if self._started is None or self._silent:
            return
        # One after the other: the agent would believe who has looked before and tells
        # later, and end the process with what it holds.
        with self._telling:
            try:
                holds = bool(self._started.busy())
                health = str(self._started.health())
            except Exception as error:
                LOG.exception('busy() or health() failed')
                holds, health = False, f'busy() or health() failed: {error}'
            if holds != self._holds:
                self._holds = holds
                self.send({'type': 'busy', 'busy': holds})
            if health != self._health:
                self._health = health
                self.send({'type': 'health', 'text': health})


class _Asked:
    """What the answer to one of our questions comes in."""

    __slots__ = ('done', 'error', 'result')

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None
        self.result: Any = None


def _find(name: str) -> str:
    """Return where an installed package has the extension.

    :raises SystemExit: none has it.
    """
    value = entrypoints.find('guestagent.extensions', name)
    if value is None:
        raise SystemExit(f'no installed package has the extension {name!r}')
    return value


def main(argv: list[str]) -> int:
    """Host an extension until it is told to stop; return the exit code."""
    if len(argv) not in (1, 2):
        sys.stderr.write('usage: child NAME [MODULE:CLASS]\n')
        return 2
    name, value = argv[0], argv[1] if len(argv) == 2 else _find(argv[0])
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format='%(levelname)s %(name)s %(message)s',
    )
    # What the extension prints, or runs, must not meet the protocol.
    reads, writes = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for variable in ('PYTHONPATH', 'PYTHONDONTWRITEBYTECODE'):
        os.environ.pop(variable, None)  # not for the programs that it runs
    module, _, attribute = value.partition(':')
    kind = importlib.import_module(module)
    for part in attribute.split('.'):
        kind = getattr(kind, part)
    served: Any = kind
    try:
        Child(name, served, reads, writes).serve()
    except BrokenPipeError:
        return 1  # the agent has gone
    # Threads that an extension has left behind must not keep the process.
    sys.stderr.flush()
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
