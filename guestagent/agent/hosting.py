# SPDX-License-Identifier: Apache-2.0
"""What the agent offers to its extensions: the reporter, the bus, and each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import extension
from guestagent.agent import casting, ownpaths

if TYPE_CHECKING:
    from guestagent.agent import service


class Host(extension.Host):
    """Passes on to the parts of a service."""

    def __init__(self, service: service.Service, conf: Any) -> None:
        self._service = service
        self._conf = conf

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        """See the base class."""
        self._service.reporter.report_facts(extension, facts)

    def report_event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """See the base class."""
        self._service.reporter.report_event(extension, name, data)
        if self._service.channels is not None:
            self._service.channels.tell(extension, name, data)

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
        """See the base class."""
        self._service.casts.cast(
            casting.Cast(topic, method, version, dict(args), dict(context), latest)
        )

    def call(
        self,
        extension: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None,
    ) -> Any:
        """See the base class."""
        return self._service.registry.call(extension, method, arguments, context)

    def hold_storage(
        self, extension: str, devices: Sequence[str], seconds: float
    ) -> bool:
        """See the base class."""
        return self._service.storage.hold(extension, devices, seconds)

    def release_storage(self, extension: str) -> None:
        """See the base class."""
        self._service.storage.release(extension)

    def record_note(
        self,
        extension: str,
        method: str,
        context: extension.Context,
        about: Mapping[str, Any],
        needed: bool,
    ) -> None:
        """See the base class."""
        self._service.path.record_note(f'{extension}.{method}', context, about, needed)

    def own_paths(self) -> Sequence[str]:
        """See the base class."""
        return ownpaths.find(self._conf)
