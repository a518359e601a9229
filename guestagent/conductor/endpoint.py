# SPDX-License-Identifier: Apache-2.0
"""The thread that serves metrics and health by HTTP."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from guestagent import http
from guestagent import loop as loops
from guestagent.conf import listen


class Endpoint:
    """A server with a loop and a thread of its own; the pages wait for nothing."""

    def __init__(self, where: listen.Where, pages: Mapping[str, http.Page]) -> None:
        self._loop = loops.Loop()
        self._server = http.Server(self._loop, where, pages)
        self._thread = threading.Thread(target=self._run, name='metrics', daemon=True)

    def start(self) -> None:
        """Listen.

        :raises OSError: that cannot be.
        """
        self._server.start()
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Close it; return whether that was in time."""
        self._loop.call_soon(self._loop.stop)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._loop.run()
        self._server.close()
        self._loop.close()
