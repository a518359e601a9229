# SPDX-License-Identifier: Apache-2.0
"""The namespace ``agent``: what the agent says of itself and of its commands.

All but ``describe`` and ``audit`` are answered on the loop, so that they work when
every worker is taken, which is when they are needed.
"""

from __future__ import annotations

import builtins
import inspect
import time
import types
from collections.abc import Callable
from typing import Any

from guestagent import errors, extension
from guestagent.agent import dispatcher, registry, reporter
from guestagent.agent import request as requests
from guestagent.agent.audit import log
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import states

#: Takes lines of keys, a transport URL or ``''``, and for how long others go on.
Rotate = Callable[[list[str], str, float], None]


class Core(extension.Extension):
    """No functionality: only what is there, and what it is doing."""

    version = '1.0'

    def __init__(
        self,
        host: extension.Host,
        known: registry.Registry,
        carrier: dispatcher.Dispatcher,
        journal: journals.Journal,
        reports: reporter.Reporter,
        diagnosis: Callable[[], dict[str, Any]],
        audit: log.Log,
        rotate: Rotate,
    ) -> None:
        super().__init__('agent', None, host)
        self._known = known
        self._carrier = carrier
        self._journal = journal
        self._reports = reports
        self._diagnosis = diagnosis
        self._audit = audit
        self._rotate = rotate

    @extension.command(mutates=False, timeout=10)
    def describe(self, context: extension.Context, extension: str) -> dict[str, Any]:
        """Return what an extension is and how its commands are called.

        ``{name, doc, version, health, distribution, distribution_version, needs_root,
        commands: [{name, doc, mutates, repeatable, timeout, returns, arguments:
        [{name, type, required, default}]}]}``
        """
        for loaded in self._known.extensions():
            if loaded.name == extension:
                return _describe_extension(loaded)
        names = ', '.join(item.name for item in self._known.extensions()) or 'none'
        raise errors.NoSuchRecord(
            f'this agent has no extension {extension!r}; it has: {names}'
        )

    @extension.command(mutates=False, timeout=30)
    def audit(self, context: extension.Context, offset: int = 0) -> dict[str, Any]:
        """Return a page of the audit log: the records after the first ``offset``.

        ``{lines, next}``: a line is a record as it stands in the log; ``next`` is the
        offset of the next page, or null.  Older records may be gone.
        """
        if offset < 0:
            raise errors.InvalidArgument(f'offset: {offset} is below 0')
        return self._audit.page(offset)

    @extension.command(mutates=True, timeout=30, sensitive=('keys', 'transport_url'))
    def rotate(
        self,
        context: extension.Context,
        keys: builtins.list[str],
        overlap: float,
        transport_url: str = '',
    ) -> None:
        """Take new keys, of a guest that was enrolled, and another transport URL.

        ``keys`` are lines of a file of keys.  What is not among them goes on for
        ``overlap`` seconds.  Whoever may do this can command in every name.
        """
        self._rotate(keys, transport_url, overlap)

    @extension.command(mutates=False, inline=True)
    def report(self, context: extension.Context) -> None:
        """Report all facts and a heartbeat now; a conductor asks that misses some."""
        self._reports.report_all()

    @extension.command(mutates=False, inline=True)
    def diagnose(self, context: extension.Context) -> dict[str, Any]:
        """Return all that the agent knows of itself: threads, commands, spool, bus.

        It is for people; its keys may change with the agent's version.
        """
        return self._diagnosis()

    @extension.command(mutates=False, inline=True)
    def list(self, context: extension.Context) -> builtins.list[dict[str, Any]]:
        """Return the commands in flight, the oldest first.

        ``[{command_id, caller, command, state: 'waiting' | 'running', seconds, percent,
        text}]``; the last two are its progress, if it reports that.
        """
        return [describe_request(request) for request in self._carrier.in_flight()]

    @extension.command(mutates=False, inline=True)
    def status(
        self, context: extension.Context, command_id: str, caller: str = ''
    ) -> dict[str, Any]:
        """Return how it stands with a command: as ``list``, or how it has ended.

        ``{command_id, caller, state: 'waiting' | 'running' | 'done' | 'failed' |
        'interrupted' | 'withheld', ...}``
        """
        for request in self._find(command_id, caller):
            return describe_request(request)
        entry = self._journal.find(caller, command_id)
        if entry is None or entry.state == states.ACCEPTED:
            raise errors.NoSuchRecord(
                f'this agent knows no command {command_id!r} of {caller!r}; it '
                f'remembers the last ones that change the guest'
            )
        outcome = self._journal.outcome(entry)
        return {
            'command_id': command_id,
            'caller': caller,
            'state': outcome.status,
            'error': None if outcome.error is None else str(outcome.error),
        }

    @extension.command(mutates=False, inline=True)
    def cancel(
        self, context: extension.Context, command_id: str, caller: str | None = None
    ) -> dict[str, int]:
        """Cancel commands in flight, of one caller or of all; return how many.

        ``{cancelled}``
        """
        who = context.caller or 'a caller without a name'
        reason = errors.Cancelled(f'the command was cancelled by {who}')
        found = self._find(command_id, caller)
        return {'cancelled': sum(self._carrier.cancel(one, reason) for one in found)}

    def _find(
        self, command_id: str, caller: str | None
    ) -> builtins.list[requests.Request]:
        return [
            request
            for request in self._carrier.in_flight()
            if request.id == command_id and caller in (None, request.caller)
        ]


def register(known: registry.Registry, core: Core) -> None:
    """Serve ``agent``, and oslo.messaging's ping in no namespace."""
    loaded = registry.Loaded('agent', core)
    for command in loaded.commands.values():
        command.quiet = command.info.inline
    loaded.commands['audit'].quiet = True
    known.add('agent', loaded)
    ping = registry.Loaded('')
    ping.version = '1.0'
    ping.commands['oslo_rpc_server_ping'] = registry.Command(
        'PingEndpoint.oslo_rpc_server_ping',
        _ping,
        extension.CommandInfo(False, None, True, frozenset(), inline=True),
    )
    ping.commands['oslo_rpc_server_ping'].quiet = True
    known.add(None, ping)


def find(verb: str) -> registry.Command | None:
    """Return a command of the agent's own to look at, not to call."""
    method = getattr(Core, verb, None)
    info = getattr(method, extension.COMMAND_MARK, None)
    if method is None or info is None:
        return None
    return registry.Command(f'Core.{verb}', types.MethodType(method, Core), info)


def _ping(context: extension.Context) -> str:
    """Answer as oslo.messaging's PingEndpoint does."""
    return 'pong'


def _describe_extension(loaded: registry.Loaded) -> dict[str, Any]:
    doc = inspect.getdoc(type(loaded.instance)) if loaded.instance else None
    return {
        'name': loaded.name,
        **loaded.summary(),
        'doc': doc or '',
        'needs_root': loaded.instance.needs_root if loaded.instance else '',
        'commands': [
            _describe_command(name, command)
            for name, command in sorted(loaded.commands.items())
        ],
    }


def _describe_command(name: str, command: registry.Command) -> dict[str, Any]:
    about = command.signature
    return {
        'name': name,
        'doc': inspect.getdoc(command.function) or '',
        'mutates': command.info.mutates,
        'repeatable': command.info.repeatable,
        'timeout': command.info.timeout,
        'returns': about.returns,
        'arguments': [
            {
                'name': argument.name,
                'type': argument.type,
                'required': argument.required,
                'default': argument.default,
            }
            for argument in about.arguments.values()
        ],
    }


def describe_request(request: requests.Request) -> dict[str, Any]:
    """Return a command in flight as ``agent.list`` has it."""
    seconds = None
    if request.started is not None:
        seconds = round(time.monotonic() - request.started, 3)
    context = request.context
    percent, text = (None, '') if context is None else context.progress
    return {
        'command_id': request.id,
        'caller': request.caller,
        'command': request.name,
        'state': 'waiting' if seconds is None else 'running',
        'seconds': seconds,
        'percent': percent,
        'text': text,
    }
