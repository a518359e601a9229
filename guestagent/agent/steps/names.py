# SPDX-License-Identifier: Apache-2.0
"""Keep the names of channels for what comes in by them.

Policy, journal, audit log, and what extensions keep for a caller know him by his name:
a caller on the bus of the same name, though proven, would be taken for the channel.
"""

from __future__ import annotations

from collections.abc import Iterable

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.agent import steps


class Names(steps.Step):
    """Refuses callers on the bus who have the name of a channel.

    :param channels: the names of those that are enabled.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        self._channels = frozenset(channels)

    def admit(self, request: requests.Request) -> None:
        """Let it pass if the caller's name is no channel's, or it came in by one.

        :raises guestagent.errors.Refused: somebody on the bus has the name.
        """
        if request.caller in self._channels and not request.door.by_channel:
            raise errors.Refused(
                f'{request.caller!r} is the name of a channel of this guest ([DEFAULT] '
                f'enabled_channels), so no caller on the bus may have it: use another '
                f'name'
            )
