# SPDX-License-Identifier: Apache-2.0
"""What an extension is given in a process of its own: it asks and tells the agent."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import extension

if TYPE_CHECKING:
    from guestagent.agent.isolation import child


class Host(extension.Host):
    """Passes on to the agent what the extension reports, and what it asks."""

    def __init__(self, child: child.Child) -> None:
        self._child = child

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        """See the base class."""
        self._child.send({'type': 'facts', 'facts': dict(facts)})

    def report_event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """See the base class."""
        self._child.send({'type': 'event', 'name': name, 'data': dict(data)})

    def call(
        self,
        extension: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None,
    ) -> Any:
        """See the base class."""
        return self._child.ask(extension, method, arguments, context)

    def hold_storage(
        self, extension: str, devices: Sequence[str], seconds: float
    ) -> bool:
        """See the base class."""
        fields = {'type': 'hold', 'devices': list(devices), 'seconds': seconds}
        # What this process imports would leave its compiled form on the disk.
        sys.dont_write_bytecode = True
        return bool(self._child.request(fields))

    def release_storage(self, extension: str) -> None:
        """See the base class."""
        self._child.request({'type': 'release'})

    def record_note(
        self,
        extension: str,
        method: str,
        context: extension.Context,
        about: Mapping[str, Any],
        needed: bool,
    ) -> None:
        """See the base class; who needs it waits for the agent."""
        fields = {
            'type': 'note',
            'method': method,
            'caller': context.caller,
            'proven': context.proven,
            'command_id': context.command_id,
            'about': dict(about),
        }
        if needed:
            self._child.request(fields)
        else:
            self._child.send(fields)

    def own_paths(self) -> Sequence[str]:
        """See the base class."""
        return self._child.own_paths
