# SPDX-License-Identifier: Apache-2.0
"""Judge requests by the rules: what they say of caller, command and arguments.

A path is judged by its name, and by the place to which links lead from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from guestagent import errors
from guestagent.agent import registry
from guestagent.agent import request as requests
from guestagent.agent.policy import patterns, rules

#: Ends the reason of a refusal because of the place that links lead to.
LINKS = ' (the place that links lead to counts, too)'


class Judge:
    """Holds rules against requests.

    :ivar rules: the rules.
    """

    def __init__(self, found: rules.Policy) -> None:
        self.rules = found

    def judge(self, request: requests.Request) -> str:
        """Return which rule allows a request; nothing is looked at but the request.

        :raises guestagent.errors.Forbidden: no rule does.
        """
        return self._enforce(request, request.args, '')

    def judge_links(self, request: requests.Request) -> None:
        """Judge the places that paths lead to; looks at the disk.

        :raises guestagent.errors.Forbidden: no rule allows them.
        """
        if self.rules.has_paths:
            args = resolved(request.args)
            if args != request.args:
                self._enforce(request, args, LINKS)

    def _enforce(self, request: requests.Request, args: Any, hint: str) -> str:
        caller = rules.Caller(request.caller, request.proven)
        command = rules.PING if request.namespace is None else request.name
        default = defaults(request.command)
        rule = self.rules.find(caller, command, args, default)
        if rule is None:
            reason = self.rules.decide(caller, command, args, default).reason
            raise errors.Forbidden(f'{caller} may not use {command}: {reason}{hint}')
        return rule


def resolved(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with the places that paths among them lead to."""
    return {
        name: os.path.realpath(value)
        if isinstance(value, str) and patterns.is_shortest_path(value)
        else value
        for name, value in args.items()
    }


def defaults(command: registry.Command | None) -> Callable[[str], Any]:
    """Return what tells the value of an argument that is not given."""
    if command is None:
        return rules.no_default
    known = command.signature.arguments

    def default(name: str) -> Any:
        argument = known.get(name)
        return None if argument is None else argument.default

    return default
