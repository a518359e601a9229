# SPDX-License-Identifier: Apache-2.0
"""How the worker and the agent speak: a line of JSON each, over two pipes.

The agent sends one request, ``{"op": <name>, ...}``.  The worker sends any number of
``{"progress": [<done>, <of>]}``, at most one ``{"ask": "metadata"}``, which the agent
answers by ``{"metadata": {...}}``, and one ``{"result": ...}`` or ``{"error": <name of
a class of guestagent.errors>, "message": <text>, "left": <whether something is left in
the storage>}``.  The end of the agent's pipe, whatever caused it, ends the work.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from typing import Any

from guestagent import errors

#: Seconds between two lines of progress.
SPACING = 0.25


class Link:
    """The worker's side; made on its main thread.

    :ivar gone: nobody waits for the result any more.
    """

    def __init__(self) -> None:
        # Whatever prints must not meet what is said here.
        self._out = os.fdopen(os.dup(1), 'wb', buffering=0)
        os.dup2(2, 1)
        self._in = os.fdopen(os.dup(0), 'rb')
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._told = 0.0
        self.gone = False
        self._armed = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def request(self) -> dict[str, Any]:
        """Wait for the request, and listen from then on."""
        request: dict[str, Any] = json.loads(self._in.readline())
        threading.Thread(target=self._listen, daemon=True).start()
        return request

    def progress(self, done: int, of: int) -> None:
        """Say how far it is, now and then."""
        now = time.monotonic()
        if now >= self._told + SPACING:
            self._told = now
            self._say({'progress': [done, of]})

    def ask(self, what: str) -> dict[str, Any]:
        """Ask the agent for something, and wait for it."""
        self._say({'ask': what})
        return self._answers.get()

    def arm(self) -> None:
        """Let the agent's end interrupt what follows, as an exception.

        :raises guestagent.errors.Cancelled: at any time from now on.
        """
        self._armed = True
        if self.gone:
            self._stop()

    def settle(self) -> None:
        """Let nothing interrupt any more what is about to be done."""
        self._armed = False

    def result(self, value: Any) -> None:
        """Say that it is done.

        :raises guestagent.errors.Cancelled: nobody hears it.
        """
        if self.gone or not self._say({'result': value}):
            raise errors.Cancelled('the agent has gone')

    def fail(self, error: errors.GuestAgentError, left: bool) -> None:
        """Say that it failed."""
        name = type(error).__name__
        if not hasattr(errors, name):
            name = 'StorageError'
        self._say({'error': name, 'message': str(error), 'left': left})

    def _say(self, value: dict[str, Any]) -> bool:
        try:
            self._out.write(json.dumps(value).encode() + b'\n')
        except OSError:
            return False
        return True

    def _listen(self) -> None:
        for line in self._in:
            self._answers.put(json.loads(line))
        # Python runs the handler on the main thread, and ends what that waits for.
        os.kill(os.getpid(), signal.SIGTERM)

    def _stop(self, *_: object) -> None:
        self.gone = True
        if self._armed:
            self._armed = False
            raise errors.Cancelled('it was cancelled')
