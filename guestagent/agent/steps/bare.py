# SPDX-License-Identifier: Apache-2.0
"""Give requests that name no namespace to the extension that answers these.

From here on they are that extension's, for the policy, the journal and the audit log
too.  What its control plane has sealed in a way of its own is opened here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from guestagent import errors
from guestagent.agent import registry, steps
from guestagent.agent import request as requests

UNOPENED = 'unopened'


class Bare(steps.Step):
    """Names the namespace, and opens.

    :param size_max: of a result that is to be sealed, in bytes of JSON.
    """

    def __init__(self, known: registry.Registry, size_max: int) -> None:
        self._known = known
        self._size_max = size_max

    def admit(self, request: requests.Request) -> None:
        """Find whose it is, and have that extension open it.

        :raises guestagent.agent.steps.Unanswered: it does not open.  An answer would
            tell those who try how far they came.
        """
        if request.namespace is not None:
            return
        home = self._known.bare(request.method)
        if home is None or home.instance is None:
            return
        request.namespace = home.name
        try:
            opened = home.instance.unseal(request.args, request.values)
        except errors.Refused as error:
            raise steps.Unanswered(UNOPENED, str(error)) from None
        if opened is None:
            return
        request.args, request.values = opened.args, opened.values
        request.caller, request.proven = opened.caller, True
        request.door.seal_with(functools.partial(self._seal, opened.seal))

    def _seal(
        self, seal: Callable[[Any], Any], outcome: requests.Outcome
    ) -> requests.Outcome:
        """Return the outcome with its result sealed; a failure stays as it is."""
        if outcome.status != requests.DONE:
            return outcome
        try:
            size = len(json.dumps(outcome.result))
        except (TypeError, ValueError, RecursionError) as caught:
            return _failed(
                errors.BadResult(f'the result cannot be sent as JSON: {caught}')
            )
        if size > self._size_max:
            return _failed(
                errors.ResultTooLarge(
                    f'the result takes {size} bytes; [dispatcher] max_result_size '
                    f'allows {self._size_max}'
                )
            )
        return requests.Outcome(requests.DONE, seal(outcome.result))


def _failed(error: errors.GuestError) -> requests.Outcome:
    return requests.Outcome(requests.FAILED, error=error)
