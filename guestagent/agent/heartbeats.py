# SPDX-License-Identifier: Apache-2.0
"""What a heartbeat says, and what it need not say again (doc/wire.rst, 7); no I/O.

The extensions, and what else stays as it is for long, is said as a whole when it has
changed, when somebody asks, and now and then.  Between, its digest says that it is as
it was: whoever knows of another whole asks for this one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import guestagent
from guestagent import digest

if TYPE_CHECKING:
    from guestagent.agent import identity

#: After so many short heartbeats comes a whole one, whoever may have missed what.
SHORT_MAX = 29

_DIGITS = 12


class Heartbeats:
    """Makes heartbeats, and remembers what the bus has of them.

    :param summaries: returns what a heartbeat says of each extension.
    """

    def __init__(
        self, who: identity.Identity, summaries: Callable[[], dict[str, Any]]
    ) -> None:
        self._who = who
        self._summaries = summaries
        self._seldom: dict[str, Any] = {}
        self._digest = ''
        self.forget()

    def forget(self) -> None:
        """Say all of it the next time: somebody may not know what was said before."""
        self._told, self._short = '', 0
        self._head: str | None = None

    def make(
        self,
        status: str,
        interval: float,
        lost: Mapping[str, int],
        audit: tuple[int, str] | None,
    ) -> dict[str, Any]:
        """Return the data of a heartbeat.

        :param lost: counts of what was lost; a short one leaves out what is 0.
        :param audit: length and head of the audit log.
        """
        self._look()
        data = {'status': status, 'interval': interval, 'digest': self._digest}
        short = self._digest == self._told and self._short < SHORT_MAX
        if short:
            data |= {name: count for name, count in lost.items() if count}
        else:
            data |= {**lost, **self._seldom}
        if audit is not None:
            length, head = audit
            named = {'length': length, 'head': head}
            data['audit'] = length if short and head == self._head else named
        return data

    def is_told(self) -> bool:
        """Whether the bus has what is to be said as a whole now."""
        self._look()
        return self._digest == self._told

    def confirmed(self, data: Mapping[str, Any]) -> None:
        """Note that the bus has a heartbeat."""
        if 'extensions' in data:
            self._told, self._short = data['digest'], 0
        else:
            self._short += 1
        audit = data.get('audit')
        if isinstance(audit, dict):
            self._head = audit['head']

    def _look(self) -> None:
        seldom = {
            'agent_version': guestagent.__version__,
            'started': self._who.started,
            'extensions': self._summaries(),
        }
        if seldom != self._seldom:
            text = json.dumps(seldom, sort_keys=True)
            self._seldom, self._digest = seldom, digest.sha256(text.encode())[:_DIGITS]
