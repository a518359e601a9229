# SPDX-License-Identifier: Apache-2.0
"""Spreads a long list of applications over many facts; no I/O.

A fact is sent whole when anything in it has changed.  So applications are told in
groups by the beginning of their names, and one that is installed sends its group only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Applications = Mapping[str, Mapping[str, str]]

#: How many names an event holds; of the rest it tells how many they are.
EVENT_MAX = 200


def group_of(name: str) -> str:
    """Return the group of a name: its first letter, or ``lib`` and one letter more."""
    lower = name.lower()
    start = lower[:4] if lower.startswith('lib') else lower[:1]
    return ''.join(letter if letter.isalnum() else '_' for letter in start)


def facts(applications: Applications) -> dict[str, dict[str, str]]:
    """Return the facts ``applications.<source>.<group>``: ``{name: version}``."""
    found: dict[str, dict[str, str]] = {}
    for source, installed in applications.items():
        for name, version in installed.items():
            key = f'applications.{source}.{group_of(name)}'
            found.setdefault(key, {})[name] = version
    return found


def changes(before: Applications, now: Applications) -> dict[str, Any]:
    """Return what an event tells of a change; empty where there is none.

    It is ``{added, removed, changed, omitted}``: the first two ``{source: {name:
    version}}``, the third with ``[old, new]`` for versions, the last how many names
    had no room.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    count = 0
    for source in sorted({*before, *now}):
        old, new = before.get(source, {}), now.get(source, {})
        for name in sorted({*old, *new}):
            if old.get(name) == new.get(name):
                continue
            count += 1
            if count > EVENT_MAX:
                continue
            kind, value = _change(old.get(name), new.get(name))
            found.setdefault(kind, {}).setdefault(source, {})[name] = value
    if not count:
        return {}
    return {
        **{kind: found.get(kind, {}) for kind in ('added', 'removed', 'changed')},
        'omitted': max(0, count - EVENT_MAX),
    }


def _change(old: str | None, new: str | None) -> tuple[str, Any]:
    if old is None:
        return 'added', new
    if new is None:
        return 'removed', old
    return 'changed', [old, new]


class Spread:
    """Remembers the applications that were reported last."""

    def __init__(self) -> None:
        self._last: Applications | None = None

    def move(self, now: Applications) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the facts to report, ``None`` for those that are gone; and the event.

        The event is empty where nothing has changed, and at the first time, when
        nobody knows what was there before.
        """
        before = self._last
        self._last = now
        told: dict[str, Any] = dict(facts(now))
        if before is None:
            return told, {}
        for key in facts(before):
            told.setdefault(key, None)
        return told, changes(before, now)
