# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the conductor: takes reports and keeps them by the wire's rules."""

from __future__ import annotations

import json
from typing import Any

#: Where a report stands in time: the number of its generation, and its sequence.
Place = tuple[int, int]


class Conductor:
    """What a guest has reported (doc/wire.rst, section 7).

    :ivar reports: all payloads as they came, repeats too.
    :ivar facts: the present facts, ``{'<extension>.<key>': value}``.
    :ivar events: each event once, ``{type, at, data}``, as they came.
    :ivar outcomes: each outcome once, as they came.
    :ivar heartbeat: the newest, ``None`` before the first; what a short one does not
        say is that of the whole one before it.
    """

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.heartbeat: dict[str, Any] | None = None
        self._generations: dict[str, int] = {}
        self._seen: set[str] = set()
        self._beaten: Place = (-1, 0)
        self._full: Place = (-1, 0)
        self._written: dict[str, Place] = {}

    def take(self, body: str) -> None:
        """Take a report's body from the bus."""
        payload = json.loads(json.loads(body)['oslo.message'])['payload']
        self.reports.append(payload)
        kind, data = payload['kind'], payload['data']
        generation = self._generations.setdefault(
            payload['generation'], len(self._generations)
        )
        place = (generation, payload['sequence'])
        report = payload.get('id') or f'{kind} {place}'
        if report in self._seen:
            return
        self._seen.add(report)
        if kind == 'event':
            self.events.append(data)
        elif kind == 'outcome':
            self.outcomes.append(data)
        elif kind == 'facts':
            self._take_facts(data, place)
        elif place > self._beaten:
            self._beaten = place
            self._take_heartbeat(data)

    def _take_heartbeat(self, data: dict[str, Any]) -> None:
        before = self.heartbeat or {}
        if 'extensions' not in data:
            whole = ('agent_version', 'started', 'extensions')
            data = {**data, **{name: before[name] for name in whole if name in before}}
            if isinstance(data.get('audit'), int) and 'audit' in before:
                data['audit'] = before['audit']
        self.heartbeat = data

    def _take_facts(self, data: dict[str, Any], place: Place) -> None:
        """Let each fact be what was said of it last, in whatever order it came."""
        if data['full'] and place > self._full:
            self._full = place
            for key in list(self.facts):
                if self._written[key] < place:
                    del self.facts[key]
        for key, value in data['facts'].items():
            if place < max(self._full, self._written.get(key, self._full)):
                continue
            self._written[key] = place
            if value is None:
                self.facts.pop(key, None)
            else:
                self.facts[key] = value
