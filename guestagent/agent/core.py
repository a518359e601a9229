# SPDX-License-Identifier: Apache-2.0
"""What the agent says of itself: ping, and a description of its extensions."""

from __future__ import annotations

import inspect
from typing import Any

from guestagent import errors, extension
from guestagent.agent import registry


class Core(extension.Extension):
    """The namespace ``agent``: no functionality, only what is there."""

    version = '1.0'

    def __init__(self, known: registry.Registry, host: extension.Host) -> None:
        super().__init__('agent', None, host)
        self._known = known

    @extension.command(mutates=False, timeout=10)
    def describe(self, context: extension.Context, extension: str) -> dict[str, Any]:
        """Return what an extension is and how its commands are called.

        ``{name, doc, version, health, distribution, distribution_version, commands:
        [{name, doc, mutates, repeatable, timeout, returns, arguments: [{name, type,
        required, default}]}]}``
        """
        for loaded in self._known.extensions():
            if loaded.name == extension:
                return {
                    'name': loaded.name,
                    **loaded.summary(),
                    'doc': inspect.getdoc(type(loaded.instance)) or ''
                    if loaded.instance is not None
                    else '',
                    'commands': [
                        _describe(name, command)
                        for name, command in sorted(loaded.commands.items())
                    ],
                }
        names = ', '.join(item.name for item in self._known.extensions()) or 'none'
        raise errors.NoSuchRecord(
            f'this agent has no extension {extension!r}; it has: {names}'
        )


def _describe(name: str, command: registry.Command) -> dict[str, Any]:
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


def register(known: registry.Registry, host: extension.Host) -> None:
    """Serve ``agent``, and oslo.messaging's ping in no namespace."""
    known.add('agent', registry.Loaded('agent', Core(known, host)))
    ping = registry.Loaded('')
    ping.version = '1.0'
    ping.commands['oslo_rpc_server_ping'] = registry.Command(
        'PingEndpoint.oslo_rpc_server_ping',
        _ping,
        extension.CommandInfo(False, None, True, frozenset()),
        inline=True,
    )
    known.add(None, ping)


def _ping(context: extension.Context) -> str:
    """Answer as oslo.messaging's PingEndpoint does."""
    return 'pong'
