# SPDX-License-Identifier: Apache-2.0
"""One request on its way through the dispatcher, and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guestagent import digest, errors, extension
from guestagent import loop as loops

if TYPE_CHECKING:
    from guestagent.agent import registry

DONE = 'done'
FAILED = 'failed'
INTERRUPTED = 'interrupted'
WITHHELD = 'withheld'


class Outcome:
    """How a command ended (doc/wire.rst, section 6).

    :ivar status: ``done``, ``failed``, ``interrupted`` or ``withheld``.
    :ivar result: what the command returned; ``None`` unless it is done.
    :ivar error: why it failed; ``None`` if it did not.
    """

    __slots__ = ('error', 'result', 'status')

    def __init__(
        self, status: str, result: Any = None, error: BaseException | None = None
    ) -> None:
        self.status = status
        self.result = result
        self.error = error

    def kept(self, request: Request) -> Outcome:
        """Return what may be kept of it: of a secret result, that there was one."""
        if self.status == DONE and request.is_sensitive('return'):
            return Outcome(WITHHELD)
        return self


class Door:
    """Where a request came in and its answer goes out; one for each request.

    The base class is that of a door that expects nothing.
    """

    __slots__ = ()

    #: Whether somebody waits for an answer.
    wants_reply = False

    #: Whether nobody but the agent itself can come in: nothing need be sealed.
    own = False

    #: Whether it is that of a channel, whose name is the caller's.
    by_channel = False

    def acknowledge(self) -> None:
        """Tell the door that the request is in our hands; on the loop."""

    def answer(self, request: Request, outcome: Outcome) -> bool:
        """Send the outcome to who waits for it; from any thread, once.

        :returns: whether somebody will have it; if not, it is reported.
        """
        return False

    def seal_with(self, seal: Callable[[Outcome], Outcome]) -> None:
        """Let no outcome leave but as ``seal`` returns it."""

    def sign_of_life(self) -> None:
        """Tell who waits that the command still runs; on the loop."""

    @property
    def life_interval(self) -> float | None:
        """Seconds between two signs of life; ``None``: none are wanted."""
        return None


class Request:
    """What every door makes of what came in (DESIGN: one dispatcher, many doors).

    The first group of attributes is the door's, unchecked; ``command``,
    ``context`` and ``outcome`` are filled in on the way.

    :ivar expires: the :func:`time.monotonic` value after which nobody waits for it,
        or ``None``.
    :ivar id_given: whether the caller chose the id, and so may repeat it.
    :ivar proven: whether the caller is who the request says; otherwise the name is no
        more than a claim.
    :ivar rule: the name of the policy's rule that allows it; ``''``: without a policy.
    :ivar audited: whether the audit log waits for its outcome.
    :ivar started: the :func:`time.monotonic` value when it began to run, or ``None``.
    """

    __slots__ = (
        '_digest',
        'acknowledged',
        'args',
        'audited',
        'caller',
        'command',
        'context',
        'door',
        'expires',
        'id',
        'id_given',
        'method',
        'namespace',
        'next_life',
        'proven',
        'rule',
        'started',
        'started_at',
        'values',
        'version',
    )

    def __init__(
        self,
        namespace: Any,
        method: Any,
        version: Any,
        args: Any,
        *,
        caller: str,
        command_id: str,
        id_given: bool,
        values: dict[str, Any],
        door: Door,
        expires: float | None = None,
        proven: bool = False,
    ) -> None:
        self.namespace = namespace
        self.method = method
        self.version = version
        self.args = args
        self.caller = caller
        self.id = command_id
        self.id_given = id_given
        self.values = values
        self.door = door
        self.expires = expires
        self.proven = proven
        self.rule = ''
        self.audited = False
        self.command: registry.Command | None = None
        self.context: extension.Context | None = None
        self.acknowledged = False
        self.started: float | None = None
        self.started_at: float | None = None
        self.next_life: float | None = None
        self._digest: str | None = None

    @property
    def name(self) -> str:
        """The command's name for people; whatever was asked for."""
        return f'{self.namespace}.{self.method}'

    @property
    def mutates(self) -> bool:
        """Whether it changes the guest, as far as is known by now."""
        return self.command is not None and self.command.info.mutates

    def is_sensitive(self, name: str) -> bool:
        """Whether an argument, or ``'return'``, must appear in no record."""
        return self.command is not None and name in self.command.info.sensitive

    @property
    def digest(self) -> str:
        """The digest of the request (doc/wire.rst, section 3)."""
        if self._digest is None:
            text = json.dumps(
                [self.namespace, self.method, self.version, self.args],
                sort_keys=True,
                separators=(',', ':'),
                ensure_ascii=False,
            )
            self._digest = digest.sha256(text.encode('utf-8', 'surrogatepass'))
        return self._digest

    def acknowledge(self) -> None:
        """Acknowledge it to the door, once; on the loop."""
        if not self.acknowledged:
            self.acknowledged = True
            self.door.acknowledge()

    def acknowledge_soon(self, loop: loops.Loop) -> None:
        """Acknowledge it to the door, once; from any thread."""
        if not self.acknowledged:
            loop.call_soon(self.acknowledge)

    def begin(self) -> extension.Context:
        """Note that it runs from now on; return the context it runs in."""
        self.started = time.monotonic()
        self.started_at = time.time()
        limit = self.command.info.timeout if self.command is not None else None
        self.context = extension.Context(
            self.caller,
            self.id,
            self.values,
            None if limit is None else self.started + limit,
            self.proven,
        )
        return self.context

    def cancel(self, reason: errors.GuestError) -> None:
        """Let the command know that nobody waits for it any more."""
        if self.context is not None:
            self.context.cancel(reason)
