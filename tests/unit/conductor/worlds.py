# SPDX-License-Identifier: Apache-2.0
"""What the rules decide about, in place of a database."""

import dataclasses
from typing import Any

from guestagent.conductor import report, rules, state


@dataclasses.dataclass
class World:
    """A conductor's memory in place of its database."""

    known: state.Known = dataclasses.field(default_factory=lambda: state.Known({}))
    events: dict[Any, report.Event] = dataclasses.field(default_factory=dict)
    outcomes: dict[Any, Any] = dataclasses.field(default_factory=dict)
    extensions: dict[str, Any] = dataclasses.field(default_factory=dict)

    def take(
        self, *batch: report.Report, now: float = 100.0, down_after: float = 0.0
    ) -> state.Changes:
        for item in batch:
            self.known.instances.setdefault(
                item.instance, state.Instance(item.instance, state.NEW, now, now)
            )
        changes = rules.decide(
            batch, self.known, now, rules.Settings(down_after, conflict_after=10.0)
        )
        for key, event in changes.events.items():
            self.events.setdefault(key, event)
        self.outcomes.update(changes.commands)
        self.extensions.update(changes.extensions)
        return changes

    @property
    def instance(self) -> state.Instance:
        [found] = self.known.instances.values()
        return found

    def facts(self) -> dict[str, str]:
        return {
            name: fact.value
            for name, fact in self.known.facts.get('i', {}).items()
            if fact.value is not None
        }
