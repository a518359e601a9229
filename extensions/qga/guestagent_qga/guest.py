# SPDX-License-Identifier: Apache-2.0
"""What all clients share: which commands count, open files, and what is frozen."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from guestagent import errors as native
from guestagent_qga import checking, errors, schema
from guestagent_qga import state as states

LOG = logging.getLogger(__name__)

#: While something is frozen only these count: no other can be trusted not to write.
FROZEN_COMMANDS = frozenset(
    (
        'guest-ping',
        'guest-info',
        'guest-sync',
        'guest-sync-delimited',
        'guest-fsfreeze-status',
        'guest-fsfreeze-thaw',
    )
)

#: Which extension has the native commands of a topic.
EXTENSIONS = {
    'files': 'file',
    'programs': 'exec',
    'freeze': 'fsfreeze',
    'power': 'power',
    'hardware': 'hardware',
    'accounts': 'accounts',
    'facts': 'monitoring',
}

_NOT_ALLOWED = 'the command is not allowed'
_FROZEN = 'the agent is in frozen state'


class Native(Protocol):
    """What carries native commands out."""

    def call(self, namespace: str, method: str, args: Mapping[str, Any], /) -> Any:
        """Run a command and return its result; on a worker.

        :raises guestagent.errors.GuestAgentError: it failed.
        """

    def serves(self, namespace: str, /) -> bool:
        """Whether there is such an extension."""


class Settings(NamedTuple):
    """What an operator chooses.

    :ivar version: of qemu-ga, which this pretends to be.
    :ivar blocked: commands that are refused.
    :ivar allowed: the only ones that are not; ``None``: all.
    :ivar answer_max: the most bytes of an answer, where one may be shorter than what
        was asked for; 0: as many as there are.
    :ivar freeze_limit: after so many seconds a freeze ends by itself; 0: the limit of
        the extension fsfreeze.
    """

    version: str
    blocked: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    answer_max: int = 0
    freeze_limit: float = 0


class Guest:
    """Answers requests that are in form.

    :ivar handles: what the file extension calls the files that clients have open.
    :ivar frozen: whether something is frozen, as far as is known.
    :ivar lock: guards what several workers change.
    """

    def __init__(self, native: Native, settings: Settings, state: states.State) -> None:
        self.settings = settings
        self.state = state
        self.handles: dict[int, int] = {}
        self.frozen = state.was_frozen
        self.lock = threading.Lock()
        self._native = native

    def call(self, namespace: str, method: str, /, **arguments: Any) -> Any:
        """Run a native command; as :meth:`Native.call`."""
        return self._native.call(namespace, method, arguments)

    def commands(self) -> list[schema.Command]:
        """Return all commands that Linux has, in qemu-ga's order."""
        return [command for command in schema.COMMANDS.values() if command.topic]

    def refusal(self, command: schema.Command) -> str:
        """Return why a command does not count now; ``''``: it does."""
        name, settings = command.name, self.settings
        if self.frozen and name not in FROZEN_COMMANDS:
            return _FROZEN
        extension = EXTENSIONS.get(command.topic)
        if (
            name in settings.blocked
            or (settings.allowed is not None and name not in settings.allowed)
            or (extension is not None and not self._native.serves(extension))
        ):
            return _NOT_ALLOWED
        return ''

    def find(self, name: str) -> schema.Command:
        """Return a command of this name.

        :raises guestagent_qga.errors.CommandError: there is none.
        """
        command = schema.COMMANDS.get(name)
        if command is None or not command.topic:
            raise errors.CommandError(
                f'The command {name} has not been found', errors.NOT_FOUND
            )
        return command

    def answer(self, command: schema.Command, arguments: dict[str, Any]) -> Any:
        """Carry a command out and return its result.

        On a worker, unless the command is quick.

        :raises guestagent_qga.errors.CommandError: it is refused, or failed.
        """
        if self.frozen and command.name not in FROZEN_COMMANDS:
            self.look_again()
        refusal = self.refusal(command)
        if refusal:
            raise errors.CommandError(
                f'Command {command.name} has been disabled: {refusal}', errors.NOT_FOUND
            )
        checked = checking.check(command, arguments)
        try:
            return _function(command)(self, checked)
        except native.GuestAgentError as error:
            raise errors.CommandError(str(error)) from error

    def note_frozen(self, frozen: bool) -> None:
        """Take note that something is frozen now, or nothing any more.

        :raises OSError: that cannot be kept.
        """
        with self.lock:
            self.state.note_frozen(frozen)
            self.frozen = frozen

    def look_again(self) -> None:
        """Find out whether it was thawed by another, or by its limit; on a worker."""
        try:
            if self.call('fsfreeze', 'status')['state'] == 'thawed':
                self.note_frozen(False)
        except (native.GuestAgentError, OSError) as error:
            LOG.warning('whether something is frozen is not known: %s', error)


def _function(command: schema.Command) -> Callable[[Guest, dict[str, Any]], Any]:
    module = importlib.import_module(f'guestagent_qga.commands.{command.topic}')
    found: Callable[[Guest, dict[str, Any]], Any] = getattr(module, command.function)
    return found
