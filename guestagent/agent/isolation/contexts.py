# SPDX-License-Identifier: Apache-2.0
"""What a command knows of its request in an extension's own process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import extension
from guestagent.agent.isolation import stdio

#: Seconds within which what a command reports of its progress is one message.
_PROGRESS_SECONDS = 0.1


class Context(extension.Context):
    """Tells the agent of the command's progress.

    :param message: the call, as it came.
    :param send: sends a message to the agent.
    """

    __slots__ = ('_number', '_send', '_timer')

    def __init__(
        self, message: stdio.Message, send: Callable[[Mapping[str, Any]], None]
    ) -> None:
        about = message['context']
        seconds = about['seconds']
        super().__init__(
            about['caller'],
            about['command_id'],
            about['values'],
            None if seconds is None else time.monotonic() + seconds,
            about['proven'],
        )
        self._number = message['id']
        self._send = send
        self._timer: threading.Timer | None = None

    def report_progress(self, percent: float | None = None, text: str = '') -> None:
        """See the base class; the agent is told a little later, of the last one."""
        super().report_progress(percent, text)
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(_PROGRESS_SECONDS, self._tell)
                self._timer.daemon = True
                self._timer.start()

    def _tell(self) -> None:
        with self._lock:
            self._timer = None
            percent, text = self.progress
        with contextlib.suppress(BrokenPipeError):  # the agent has gone
            self._send(
                {
                    'type': 'progress',
                    'for': self._number,
                    'percent': percent,
                    'text': text,
                }
            )
