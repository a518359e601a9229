# SPDX-License-Identifier: Apache-2.0
"""What the channel says of itself, and how a client finds its place in the stream."""

from __future__ import annotations

from typing import Any

from guestagent_qga import guest as guests

Arguments = dict[str, Any]


def ping(guest: guests.Guest, arguments: Arguments) -> None:
    """Say that somebody is there."""


def sync(guest: guests.Guest, arguments: Arguments) -> int:
    """Return what was given."""
    found: int = arguments['id']
    return found


#: The same, behind a byte that no message has.
sync_delimited = sync


def info(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Return the version, and all commands, those that count and those that do not."""
    return {
        'version': guest.settings.version,
        'supported_commands': [
            {
                'name': command.name,
                'enabled': not guest.refusal(command),
                'success-response': command.answers,
            }
            for command in reversed(guest.commands())
        ],
    }
