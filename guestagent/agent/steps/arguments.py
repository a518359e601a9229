# SPDX-License-Identifier: Apache-2.0
"""Check the arguments of a request against the annotations of its command."""

from __future__ import annotations

from guestagent.agent import request as requests
from guestagent.agent import steps


class Arguments(steps.Step):
    """Refuses unknown, missing and wrong arguments with a builtin TypeError."""

    def admit(self, request: requests.Request) -> None:
        """Check; the checker is made from the annotations at its first use.

        :raises AttributeError: the arguments are no object.
        :raises TypeError: an argument is unknown, missing or of a wrong type.
        """
        args, command = request.args, request.command
        if not isinstance(args, dict):
            raise AttributeError(
                f"'{type(args).__name__}' object has no attribute 'items'"
            )
        if command is not None:
            command.signature.check(args)
