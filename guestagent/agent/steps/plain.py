# SPDX-License-Identifier: Apache-2.0
"""Without a key, refuse what nobody should be able to do under any name."""

from __future__ import annotations

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.agent import steps

#: Extensions of which even what only reads tells or does too much.
GUARDED = frozenset(('exec', 'file'))


class Plain(steps.Step):
    """Lets plain requests read, and nothing more."""

    def admit(self, request: requests.Request) -> None:
        """Refuse what changes the guest.

        :raises guestagent.errors.Refused: it does, or it is guarded.
        """
        if request.proven:
            return
        if request.mutates or request.namespace in GUARDED:
            raise errors.Refused(
                f'{request.name} is not taken from plain requests: give the guest '
                f'keys ([seal] key_file in its agent.conf) and seal commands, or set '
                f'[seal] allow_plain = true there and let everybody on the bus use it'
            )
