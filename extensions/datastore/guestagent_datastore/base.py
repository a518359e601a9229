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
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension
from guestagent_datastore import aside, holders, making, programs, records, services
from guestagent_datastore import control as controls
from guestagent_datastore import engine as engines

if TYPE_CHECKING:
    from oslo_config import cfg

LOG = logging.getLogger(__name__)

#: Seconds that a command waits for the one before it.
WAIT_SECONDS = 5.0
#: Seconds between two looks whether anybody still waits for a backup.
TURN_SECONDS = 0.5

#: Gives somebody a turn among the changes.
Turn = Callable[[], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What a server is managed with."""

    engine: engines.Engine
    control: controls.Control


@dataclasses.dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is being made; as a text, how far it is."""

    backup_id: str
    context: extension.Context

    def __str__(self) -> str:
        percent, done = self.context.progress
        told = [] if percent is None else [f'{percent:.0f} %']
        told += [done] if done else ['it has just begun']
        command = self.context.command_id
        named = f' (command {command})' if command else ''
        return f'the backup {self.backup_id}{named} is being made, {", ".join(told)}'


class Base(extension.Extension):
    """An extension with a server.

    :ivar records: what outlives the agent.
    :ivar backup: the one that is being made; ``None``: none is.
    :ivar found: what an agent before this one did not get done, and what became of it;
        ``None``: nothing.
    :ivar held: why nothing may change now, though no command runs; ``''``: it may.
    """

    version = '1.0'
    needs_root = 'to run the database server as its own user, and to mount its volume'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self.records = records.Records(pathlib.Path(conf.state_folder))
        self.found: dict[str, Any] | None = None
        self.held = ''
        self.backup: Backup | None = None
        self._parts: Parts | None = None
        self._making = threading.Lock()
        self._one = threading.Lock()

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """See the base class."""
        from guestagent_datastore import conf

        return conf.OPTIONS

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
    def changing(
        self, operation: str, context: extension.Context, *, beside_backup: bool = False
    ) -> Iterator[None]:
        """Be the only one that changes something; recorded while it lasts.

        What the end of the agent cuts short is so found at the next start.

        :param beside_backup: it does no harm to a backup that is being made.
        :raises guestagent.errors.Transient: another one is at it, or a backup.
        """
        context.check()
        self._refuse(operation, beside_backup)
        if not self._one.acquire(timeout=WAIT_SECONDS):
            running = self.records.running.get('operation')
            raise errors.Transient(
                f'{running.name if running else "another change"} is not done yet; '
                f'repeat it later'
            )
        try:
            # What this one has waited for may have been their beginning.
            self._refuse(operation, beside_backup)
            self._settle()
            self._note(operation, 'operation', context)
            try:
                with programs.marked(self._mark):
                    yield
            finally:
                self.records.end()
        finally:
            self._one.release()

    @contextlib.contextmanager
    def backing_up(self, backup_id: str, context: extension.Context) -> Iterator[Turn]:
        """Make the only backup; changes that do it no harm may go on.

        :returns: what gives a turn among these changes.
        :raises guestagent.errors.Transient: a change is being made, or a backup.
        """
        backup = Backup(backup_id, context)
        try:
            with self.changing('backup_create', context):
                # From here on nothing begins that would spoil it.
                self.backup = backup
                self._note('backup_create', 'backup', context)
            with programs.marked(self._mark):
                yield lambda: self._turn(context)
        finally:
            if self.backup is backup:
                self.backup = None
                self.records.end('backup')

    @contextlib.contextmanager
    def _turn(self, context: extension.Context) -> Iterator[None]:
        """Be alone for a moment; changes beside a backup end by themselves."""
        while not self._one.acquire(timeout=TURN_SECONDS):
            context.check()
        try:
            yield
        finally:
            self._one.release()

    def _note(
        self, operation: str, kind: records.Kind, context: extension.Context
    ) -> None:
        begun = records.Operation(operation, time.time(), context.command_id)
        self.records.begin(begun, kind)

    def _refuse(self, operation: str, beside_backup: bool) -> None:
        if self.held:
            raise errors.Transient(f'{self.held}; repeat it later')
        backup = self.backup
        if backup is not None and not beside_backup:
            raise errors.Transient(
                f'{backup}: {operation} has to wait for its end; repeat it later, or '
                f'cancel the backup'
            )

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
        """Say what became of what the agent's end cut short."""
        if self.records.interrupted:
            # What it has started may still be at work.
            holders.end(self._mark)
        for kind, cut in list(self.records.interrupted.items()):
            try:
                text = self.engine.recover(cut.name)
                if self.give_back(self.records.wanted.run):
                    text = 'what was restored is not good; the data of before is back'
            except errors.GuestAgentError as error:
                text = f'nobody knows what became of it: {error}'
            self.found = {'operation': cut.name, 'since': cut.since, 'found': text}
            LOG.warning('%s was cut short: %s', cut.name, text)
            self.report_event('interrupted', self.found)
            self.records.end(kind)

    def give_back(self, run: bool) -> bool:
        """Put the data back that a restore has put aside; false: there is none.

        :param run: whether the server is to serve with it.
        :raises guestagent.errors.GuestError: it cannot be put back, or does not serve.
        """
        kept = aside.Aside(self.engine)
        kept.tidy()
        if not kept.exists:
            return False
        self.stop_server(run)
        kept.put_back()
        self.engine.returned()
        if run:
            self.control.start()
        return True

    def stop_server(self, run: bool) -> None:
        """Stop the server so that its data can be exchanged.

        :param run: whether it is meant to run again soon.
        """
        if run:
            self.control.pause()
        else:
            self.control.stop()
        self.engine.close()

    @property
    def _mark(self) -> pathlib.Path:
        return pathlib.Path(self.conf.state_folder) / 'programs'

    def _made(self) -> Parts:
        with self._making:
            if self._parts is None:
                engine = making.make_engine(self.conf)
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
