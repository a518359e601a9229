# SPDX-License-Identifier: Apache-2.0
"""What an extension is given in a test instead of the agent: a recorder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guestagent import extension

#: Answers ``extension.command``: called with the command's arguments by name.
Answer = Callable[..., Any]


class Host(extension.Host):
    """Records what extensions report, and answers what they ask of others.

    :ivar facts: the present facts, ``{'<extension>.<key>': value}``.
    :ivar events: what happened, ``[('<extension>.<name>', data)]``, the oldest first.
    :ivar casts: what was cast, ``{topic, method, args, context, version, latest}``.
    :ivar notes: what the audit log was to say, ``[('<extension>.<method>', context,
        about)]``.
    :ivar holds: what is frozen, ``{'<extension>': [device, ...]}``.
    :ivar answers: what other extensions' commands do, ``{'exec.run': function}``.
    """

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.facts: dict[str, Any] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.casts: list[dict[str, Any]] = []
        self.notes: list[tuple[str, extension.Context, dict[str, Any]]] = []
        self.holds: dict[str, list[str]] = {}
        self.answers: dict[str, Answer] = dict(answers or {})
        self._lock = threading.Lock()

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        """Take the present values of facts; ``None`` removes one.

        :raises TypeError: JSON cannot carry a value.
        """
        with self._lock:
            for key, value in _sent(facts).items():
                if value is None:
                    self.facts.pop(f'{extension}.{key}', None)
                else:
                    self.facts[f'{extension}.{key}'] = value

    def report_event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """Take an event.

        :raises TypeError: JSON cannot carry its data.
        """
        with self._lock:
            self.events.append((f'{extension}.{name}', _sent(data)))

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
        """Take a cast.

        :raises TypeError: JSON cannot carry it.
        """
        made = {
            'topic': topic,
            'method': method,
            'args': _sent(args),
            'context': _sent(context),
            'version': version,
            'latest': latest,
        }
        with self._lock:
            self.casts.append(made)

    def call(
        self,
        extension: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None,
    ) -> Any:
        """Answer from :attr:`answers`.

        :raises guestagent.errors.ExtensionUnavailable: there is no answer.
        """
        answer = self.answers.get(f'{extension}.{method}')
        if answer is None:
            return super().call(extension, method, arguments, context)
        return answer(**arguments)

    def record_note(
        self,
        extension: str,
        method: str,
        context: extension.Context,
        about: Mapping[str, Any],
        needed: bool,
    ) -> None:
        """Take a note.

        :raises TypeError: JSON cannot carry it.
        """
        with self._lock:
            self.notes.append((f'{extension}.{method}', context, _sent(about)))

    def hold_storage(
        self, extension: str, devices: Sequence[str], seconds: float
    ) -> bool:
        """Note it; the agent has no files here."""
        self.holds[extension] = list(devices)
        return False

    def release_storage(self, extension: str) -> None:
        """Forget it."""
        self.holds.pop(extension, None)


def _sent(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what arrives of ``values`` when they have travelled as JSON."""
    arrived: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return arrived
