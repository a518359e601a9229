# SPDX-License-Identifier: Apache-2.0
"""What all groups of commands share: the engine, and one change at a time.

Each group is a class of its own that derives from :class:`Base`; the extension is made
of all of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import conf as options
from guestagent_datastore import engine as engines
from guestagent_datastore import records

#: Seconds that a command waits for the one before it.
WAIT_SECONDS = 5.0


class Base(extension.Extension):
    """An extension with an engine.

    :ivar engine: made when it is first needed: until then nothing of it is imported.
    """

    version = '1.0'
    options = options.OPTIONS
    needs_root = 'to run the database server as its own user, and to mount its volume'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._engine: engines.Engine | None = None
        self._engine_lock = threading.Lock()
        self._one = threading.Lock()
        self._records: records.Records | None = None

    @property
    def engine(self) -> engines.Engine:
        """The engine of the server that this guest has.

        :raises guestagent.errors.GuestError: none is configured, or it is not there.
        """
        with self._engine_lock:
            if self._engine is None:
                self._engine = options.make_engine(self.conf)
            return self._engine

    @property
    def records(self) -> records.Records:
        """What outlives the agent."""
        if self._records is None:
            self._records = records.Records(pathlib.Path(self.conf.state_folder))
        return self._records

    @contextlib.contextmanager
    def changing(self, operation: str, context: extension.Context) -> Iterator[None]:
        """Be the only one that changes something; recorded while it lasts.

        What the end of the agent cuts short is so found at the next start.

        :raises guestagent.errors.Transient: another one is at it.
        """
        context.check()
        if not self._one.acquire(timeout=WAIT_SECONDS):
            running = self.records.running
            raise errors.Transient(
                f'{running.name if running else "another change"} is not done yet; '
                f'repeat it later'
            )
        try:
            self.records.begin(
                records.Operation(operation, time.time(), context.command_id)
            )
            try:
                yield
            finally:
                self.records.end()
        finally:
            self._one.release()


def plain(value: Any) -> dict[str, Any]:
    """Return a value of ``models`` as a command returns it."""
    return dataclasses.asdict(value)
