# SPDX-License-Identifier: Apache-2.0
"""Open sealed commands, and drop all else; the first step where there are keys."""

from __future__ import annotations

from typing import Protocol

from guestagent.agent import request as requests
from guestagent.agent import steps
from guestagent.seal import guest

NAMESPACE, METHOD, VALUE = 'sealed', 'invoke', 'value'

PLAIN, SKEWED = 'plain', 'skewed'


class Opener(Protocol):
    """What opens; :class:`guestagent.agent.sealing.Sealing`."""

    def open(self, text: object) -> guest.Opened:
        """Return the command in a sealed value."""


class Unseal(steps.Step):
    """Puts what stands inside in the place of the request.

    :param size_max: of a result, in bytes of JSON.
    """

    def __init__(self, opener: Opener, size_max: int) -> None:
        self._opener = opener
        self._size_max = size_max

    def admit(self, request: requests.Request) -> None:
        """Open, and have the answer sealed.

        :raises guestagent.agent.steps.Unanswered: it is plain, or does not open.
        :raises guestagent.errors.ClockSkew: its stamp does not fit our clock.
        """
        if request.door.own or request.proven:
            return
        if (request.namespace, request.method) != (NAMESPACE, METHOD):
            raise steps.Unanswered(PLAIN, 'it is not sealed')
        args = request.args
        try:
            opened = self._opener.open(
                args.get(VALUE) if isinstance(args, dict) else None
            )
        except guest.Unanswered as error:
            raise steps.Unanswered(error.reason, str(error)) from None
        if opened.refusal is not None and not request.door.wants_reply:
            # As a report it would stand in the place of how the command ended, if it
            # came before: and that is what cannot be told.
            raise steps.Unanswered(SKEWED, 'its stamp does not fit the clock here')
        self._replace(request, opened)
        if opened.refusal is not None:
            raise opened.refusal

    def _replace(self, request: requests.Request, opened: guest.Opened) -> None:
        command, size_max = opened.command, self._size_max
        request.namespace = command.namespace
        request.method = command.method
        request.version = command.version
        request.args = command.args
        request.values = command.context
        request.caller = command.caller
        request.id = command.id
        request.id_given = request.proven = True

        def seal(outcome: requests.Outcome) -> requests.Outcome:
            sealed = opened.reply(outcome.result, outcome.error, size_max)
            return requests.Outcome(requests.DONE, sealed)

        request.door.seal_with(seal)
