# SPDX-License-Identifier: Apache-2.0
"""What all groups of commands share: the server, and one change at a time.

Each group is a class of its own that derives from :class:`Base`; the extension is made
of all of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from guestagent import errors, extension
from guestagent_datastore import conf as options
from guestagent_datastore import control as controls
from guestagent_datastore import engine as engines
from guestagent_datastore import holders, programs, records, services

LOG = logging.getLogger(__name__)

#: Seconds that a command waits for the one before it.
WAIT_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What a server is managed with."""

    engine: engines.Engine
    control: controls.Control


class Base(extension.Extension):
    """An extension with a server.

    :ivar records: what outlives the agent.
    :ivar found: what an agent before this one did not get done, and what became of it;
        ``None``: nothing.
    :ivar held: why nothing may change now, though no command runs; ``''``: it may.
    """

    version = '1.0'
    options = options.OPTIONS
    needs_root = 'to run the database server as its own user, and to mount its volume'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self.records = records.Records(pathlib.Path(conf.state_folder))
        self.found: dict[str, Any] | None = None
        self.held = ''
        self._parts: Parts | None = None
        self._making = threading.Lock()
        self._one = threading.Lock()

    @property
    def engine(self) -> engines.Engine:
        """The engine of the server that this guest has.

        :raises guestagent.errors.ConfigError: the options name none.
        """
        return self._made().engine

    @property
    def control(self) -> controls.Control:
        """What starts and stops the server.

        :raises guestagent.errors.ConfigError: the options name no engine.
        """
        return self._made().control

    def start(self) -> None:
        """Refuse options that make no sense."""
        self._made()

    def stop(self) -> None:
        """Let the server run on."""
        if self._parts is not None:
            self._parts.control.close()

    @contextlib.contextmanager
    def changing(self, operation: str, context: extension.Context) -> Iterator[None]:
        """Be the only one that changes something; recorded while it lasts.

        What the end of the agent cuts short is so found at the next start.

        :raises guestagent.errors.Transient: another one is at it.
        """
        context.check()
        if self.held:
            raise errors.Transient(f'{self.held}; repeat it later')
        if not self._one.acquire(timeout=WAIT_SECONDS):
            running = self.records.running
            raise errors.Transient(
                f'{running.name if running else "another change"} is not done yet; '
                f'repeat it later'
            )
        try:
            self._settle()
            self.records.begin(
                records.Operation(operation, time.time(), context.command_id)
            )
            try:
                with programs.marked(self._mark):
                    yield
            finally:
                self.records.end()
        finally:
            self._one.release()

    def settle(self) -> bool:
        """Get over what was cut short, and start what is meant to run.

        :returns: false where something is just being changed.
        """
        if not self._one.acquire(blocking=False):
            return False
        try:
            self._settle()
            self.control.revive()
        finally:
            self._one.release()
        return True

    def _settle(self) -> None:
        """Say what became of the operation that the agent's end cut short."""
        cut = self.records.interrupted
        if cut is None:
            return
        try:
            # What it has started may still be at work.
            holders.end(self._mark)
            text = self.engine.recover(cut.name)
        except errors.GuestAgentError as error:
            text = f'nobody knows what became of it: {error}'
        self.found = {'operation': cut.name, 'since': cut.since, 'found': text}
        LOG.warning('%s was cut short: %s', cut.name, text)
        self.report_event('interrupted', self.found)
        self.records.interrupted = None
        self.records.end()

    @property
    def _mark(self) -> pathlib.Path:
        return pathlib.Path(self.conf.state_folder) / 'programs'

    def _made(self) -> Parts:
        with self._making:
            if self._parts is None:
                engine = options.make_engine(self.conf)
                self._parts = Parts(
                    engine,
                    controls.Control(
                        engine,
                        services.make(engine, self.conf),
                        self.records,
                        self.conf.state_change_wait_time,
                        self.report_event,
                    ),
                )
            return self._parts


def plain(value: Any) -> dict[str, Any]:
    """Return a value of ``models`` as a command returns it."""
    return dataclasses.asdict(value)
