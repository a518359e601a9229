# SPDX-License-Identifier: Apache-2.0
"""What the author of a channel imports: a way into the agent beside its bus.

A channel speaks somebody else's protocol, as that of qemu-ga's clients, with who is at
the other end of a device or a socket.  It is a class that derives from
:class:`Channel`, in a package with an entry point in the group
``guestagent.channels``, and is loaded where ``[DEFAULT] enabled_channels`` names it.

What comes in becomes a request of the agent: it passes policy, journal and audit log as
any other, with the channel's name as its caller.  Who has the other end of the channel
counts as proven to be that caller, and seals nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import loop as loops

if TYPE_CHECKING:
    from oslo_config import cfg

#: Called with the result and ``None``, or with ``None`` and why there is none.
Answer = Callable[[Any, BaseException | None], None]


class Host:
    """What the agent offers to a channel.

    :ivar loop: the agent's main thread: descriptors and timers.  What it calls must not
        wait.
    :ivar state_dir: the folder in which the channel may keep what must survive; it is
        made when the channel is started.
    """

    loop: loops.Loop
    state_dir: str

    def submit(
        self,
        namespace: str,
        method: str,
        args: Mapping[str, Any],
        answer: Answer,
        *,
        version: str = '1.0',
        command_id: str | None = None,
    ) -> None:
        """Have a command run; from any thread.

        :param answer: called once, on any thread, when it has ended or was refused.
        :param command_id: the client's own id, if it has ids and repeats a command with
            the same; it must be one as doc/wire.rst describes.
        """
        raise NotImplementedError

    def call(self, namespace: str, method: str, args: Mapping[str, Any]) -> Any:
        """Run a command and return its result; not on the loop.

        :raises guestagent.errors.GuestAgentError: it failed, or was refused.
        :raises: what else the extension raised.
        """
        waiter = _Waiter()
        self.submit(namespace, method, args, waiter)
        return waiter.result()

    def serves(self, namespace: str) -> bool:
        """Whether there is an extension of this name; from any thread."""
        raise NotImplementedError


class _Waiter:
    """An :data:`Answer` that another thread waits for."""

    def __init__(self) -> None:
        self._there = threading.Lock()
        self._there.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

    def __call__(self, result: Any, error: BaseException | None) -> None:
        self._result, self._error = result, error
        self._there.release()

    def result(self) -> Any:
        """Wait for it."""
        self._there.acquire()
        if self._error is not None:
            raise self._error
        return self._result


class Channel:
    """Base class of all channels; every method here may be overridden.

    Everything is called on the agent's loop and must not wait.

    :cvar options: oslo.config options, registered in the section ``[<name>]``; see
        :meth:`list_options`.
    :ivar name: the entry point's name, and the caller of all that comes in.
    :ivar conf: the section ``[<name>]`` of the configuration.
    :ivar host: the agent.
    """

    options: Sequence[cfg.Opt] = ()

    def __init__(self, name: str, conf: Any, host: Host) -> None:
        self.name = name
        self.conf = conf
        self.host = host

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options; import them here to do without oslo.config elsewhere."""
        return cls.options

    def start(self) -> None:
        """Open it; an exception leaves the agent without this channel, and is logged.

        All extensions have been started.
        """

    def pause(self) -> None:
        """Take no more requests: the agent stops.  Answers may still leave."""

    def stop(self) -> None:
        """Let go of everything; the last command has ended."""

    def event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """Hear of an event that an extension of the agent has reported."""

    def health(self) -> str:
        """Return ``'ok'`` or, in one sentence, what is wrong."""
        return 'ok'
