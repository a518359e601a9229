# SPDX-License-Identifier: Apache-2.0
"""What the author of an extension imports: nothing else of the agent is needed.

An extension is a class that derives from :class:`Extension`, in a package of its
own with an entry point in the group ``guestagent.extensions``.  Its commands are
methods marked with :func:`command`; what it does by itself, on a period, is marked
with :func:`periodic`.  The way of a command is ``<name>.<method>`` for people and
``namespace=<name>, method=<method>`` on the wire.

The life of an extension: the class is made with the agent's configuration
registered, :meth:`Extension.start` is called, commands and periodic methods run on
worker threads (several at once: guard what you share), :meth:`Extension.stop` is
called.  None of these may take long except commands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors
from guestagent.marks import (
    COMMAND_MARK,
    PERIODIC_MARK,
    CommandInfo,
    Method,
    PeriodicInfo,
    command,
    periodic,
)

if TYPE_CHECKING:
    from oslo_config import cfg

__all__ = [
    'COMMAND_MARK',
    'PERIODIC_MARK',
    'PROGRESS_MAX',
    'CommandInfo',
    'Context',
    'Extension',
    'Host',
    'Method',
    'Opened',
    'PeriodicInfo',
    'command',
    'periodic',
]

#: The longest text of a command's progress, in characters.
PROGRESS_MAX = 200


class Context:
    """What a command may know about its request, and how it hears of its end.

    :ivar caller: the name of who asked, ``''`` where the door knows none.
    :ivar proven: whether that is more than a claim.
    :ivar command_id: the command's id; the same when the request is repeated.
    :ivar values: the RPC context that the caller sent, as a dictionary.
    :ivar deadline: the :func:`time.monotonic` value at which the caller is told
        that the command did not end, or ``None``.
    :ivar progress: what :meth:`report_progress` was told last: (percent, text).
    """

    __slots__ = (
        '_callbacks',
        '_lock',
        '_reason',
        'caller',
        'command_id',
        'deadline',
        'progress',
        'proven',
        'values',
    )

    def __init__(
        self,
        caller: str = '',
        command_id: str = '',
        values: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        proven: bool = False,
    ) -> None:
        self.caller = caller
        self.proven = proven
        self.command_id = command_id
        self.values: Mapping[str, Any] = values if values is not None else {}
        self.deadline = deadline
        self.progress: tuple[float | None, str] = (None, '')
        self._reason: errors.GuestError | None = None
        self._callbacks: list[Callable[[], None]] | None = None
        self._lock = threading.Lock()

    @property
    def owner(self) -> str:
        """Whose it is what is kept for the caller: no claim opens what was proven."""
        return self.caller if self.proven else f'plain:{self.caller}'

    def remaining(self) -> float | None:
        """Return the seconds left, never below 0; ``None`` without a limit."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic())

    def report_progress(self, percent: float | None = None, text: str = '') -> None:
        """Say how far the command is, to those who ask (``guestctl command watch``).

        It sends nothing and costs next to nothing: call it as often as you like, from
        any thread.

        :param percent: 0 to 100, what is outside counts as these; ``None``: nobody
            knows.
        :param text: one line, cut to :data:`PROGRESS_MAX` characters; no secrets.
        """
        if percent is not None:
            # In this order NaN is 0.
            percent = float(min(100, max(0, percent)))
        self.progress = (percent, ' '.join(text.split())[:PROGRESS_MAX])

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._reason is not None

    def check(self) -> None:
        """Raise what ended the command, if something did; call it in long loops.

        :raises guestagent.errors.CommandTimeout: its time is over.
        :raises guestagent.errors.Cancelled: someone cancelled it.
        """
        if self._reason is not None:
            raise self._reason

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once when the command is cancelled.

        It is called on another thread, must be quick (kill a process, close a
        socket), and is called at once when the command is cancelled already.
        """
        with self._lock:
            if self._reason is None:
                self._callbacks = [*(self._callbacks or ()), callback]
                return
        callback()

    def cancel(self, reason: errors.GuestError) -> None:
        """End the command with ``reason``; the agent's side of :meth:`check`."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            callback()


class Opened:
    """What stood in a request that was sealed in a control plane's own way.

    :ivar caller: who has proven to have sealed it, as a policy names callers.
    :ivar args: the arguments by name.
    :ivar values: the RPC context.
    :ivar seal: makes of the command's result what leaves; on a worker's thread.
    """

    __slots__ = ('args', 'caller', 'seal', 'values')

    def __init__(
        self,
        caller: str,
        args: dict[str, Any],
        values: dict[str, Any],
        seal: Callable[[Any], Any],
    ) -> None:
        self.caller = caller
        self.args = args
        self.values = values
        self.seal = seal


class Host:
    """What the agent offers to an extension; ``guestagent.testing`` has another.

    The base class does nothing with what it is given.
    """

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        """Take the present values of facts; only what changed is sent on."""

    def report_event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """Take an event to be sent to the conductor once."""

    def cast(
        self,
        topic: str,
        method: str,
        args: Mapping[str, Any],
        *,
        context: Mapping[str, Any],
        version: str,
        latest: bool,
    ) -> None:
        """Take a cast to be sent to a program of the control plane.

        :raises guestagent.errors.ExtensionUnavailable: that cannot be done from here.
        """
        raise errors.ExtensionUnavailable('nothing can be cast from here')

    def call(
        self,
        extension: str,
        method: str,
        arguments: Mapping[str, Any],
        context: Context | None,
    ) -> Any:
        """Run another extension's command and return its result.

        :raises guestagent.errors.ExtensionUnavailable: it is not loaded.
        """
        raise errors.ExtensionUnavailable(f'extension {extension!r} is not loaded')

    def hold_storage(
        self, extension: str, devices: Sequence[str], seconds: float
    ) -> bool:
        """Write nothing of the agent's own to these devices: they will be frozen.

        :param devices: ``major:minor`` of each, as in ``/proc/self/mountinfo``.
        :param seconds: when they are thawed at the latest.
        :returns: whether the agent's files are on one of them.
        :raises guestagent.errors.StorageError: that cannot be: do not freeze them.
        """
        return False

    def release_storage(self, extension: str) -> None:
        """Take note that what this extension has named is thawed."""

    def record_note(
        self,
        extension: str,
        method: str,
        context: Context,
        about: Mapping[str, Any],
        needed: bool,
    ) -> None:
        """Take what the audit log should say more of a command.

        :raises guestagent.errors.StorageError: it is needed, and cannot be kept.
        """

    def own_paths(self) -> Sequence[str]:
        """Return the full paths of what is the agent's own, its keys among it.

        An extension that gives callers files must not give them these, nor what is
        within.
        """
        return ()


class Extension:
    """Base class of all extensions; every method here may be overridden.

    :cvar bare: whether requests that name no namespace are for this extension, as
        those of control planes are that know none; of one in an agent at most.
    :cvar version: ``major.minor`` of the commands: a caller's request is served
        when it names the same major and no later minor.
    :cvar options: oslo.config options, registered in the section ``[<name>]``; see
        :meth:`list_options`.
    :cvar needs_root: what of it works as root only, in a few words; ``''``: nothing.
    :ivar name: the entry point's name.
    :ivar conf: the section ``[<name>]`` of the configuration.
    """

    bare = False
    version = '1.0'
    options: Sequence[cfg.Opt] = ()
    needs_root = ''

    def __init__(self, name: str, conf: Any, host: Host) -> None:
        self.name = name
        self.conf = conf
        self._host = host

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options; override it to import oslo.config only here."""
        return cls.options

    def start(self) -> None:
        """Get ready to serve; an exception marks the extension as failed."""

    def stop(self) -> None:
        """Let go of everything; called once, after the last command ended."""

    def unseal(self, args: Any, values: Mapping[str, Any]) -> Opened | None:
        """Open a request without a namespace, where its control plane seals these.

        Called on the agent's loop, so it must not wait, nor read what follows from the
        arguments; only of an extension that is :attr:`bare`.

        :param args: as they came, unchecked; ``values``: the RPC context.
        :returns: ``None``: they are not sealed here, and nobody has proven anything.
        :raises guestagent.errors.Refused: it does not open; nobody gets an answer.
        """
        return None

    def interrupted(self, method: str, command_id: str) -> None:
        """Hear that a command of this extension was cut short by the agent's end.

        Called after :meth:`start`, once for each such command, before requests come.
        """

    def health(self) -> str:
        """Return ``'ok'`` or, in one sentence, what is wrong; must not block."""
        return 'ok'

    def busy(self) -> bool:
        """Whether it holds what outlives a command: an open file, a program that runs.

        Its process, if it has one of its own, stays as long; must not block.
        """
        return False

    def report_facts(self, facts: Mapping[str, Any]) -> None:
        """Report the present values of facts; only what changed is sent.

        Keys appear as ``<name>.<key>``; a value of ``None`` removes the fact.
        """
        self._host.report_facts(self.name, facts)

    def report_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Report that something happened, as the event ``<extension>.<name>``."""
        self._host.report_event(self.name, name, data)

    def record_note(
        self,
        method: str,
        context: Context,
        about: Mapping[str, Any],
        *,
        needed: bool = False,
    ) -> None:
        """Have the audit log say more of a command, as what follows from it.

        That is for what the log would else not show, as what a caller does next with
        commands that are not recorded.  Not for each of these; never a secret.

        :param method: the command's name, without the extension's.
        :param context: the command's, or one of the same caller and id.
        :param needed: do it before what it tells of, which must not happen if this
            fails; else it may be lost.
        :raises guestagent.errors.StorageError: it is needed, and cannot be recorded.
        """
        self._host.record_note(self.name, method, context, about, needed)

    def hold_storage(self, devices: Sequence[str], seconds: float) -> bool:
        """Have the agent write nothing of its own to these devices; then freeze them.

        :param devices: ``major:minor`` of each, as in ``/proc/self/mountinfo``.
        :param seconds: when they are thawed at the latest.
        :returns: whether the agent's files are on one of them.
        :raises guestagent.errors.StorageError: that cannot be: do not freeze them.
        """
        return self._host.hold_storage(self.name, devices, seconds)

    def release_storage(self) -> None:
        """Say that what was named is thawed."""
        self._host.release_storage(self.name)

    def cast(
        self,
        topic: str,
        method: str,
        args: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        version: str = '1.0',
        latest: bool = False,
    ) -> None:
        """Send an RPC cast to a topic of the control exchange, from any thread.

        It is kept on the disk and sent again until the bus has it, in order, unless it
        is one of which only the ``latest`` counts.  Not from an extension in a process
        of its own.

        :raises TypeError: JSON cannot carry it.
        :raises guestagent.errors.ExtensionUnavailable: nothing can be cast from here.
        """
        self._host.cast(
            topic, method, args, context=context or {}, version=version, latest=latest
        )

    def call(
        self,
        extension: str,
        method: str,
        /,
        *,
        context: Context | None = None,
        **arguments: Any,
    ) -> Any:
        """Ask another extension, through the registry, on this thread.

        :raises guestagent.errors.ExtensionUnavailable: it is not loaded.
        """
        return self._host.call(extension, method, arguments, context)
