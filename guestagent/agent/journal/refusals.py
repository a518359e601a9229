# SPDX-License-Identifier: Apache-2.0
"""Say when commands begin to be refused, for want of a journal, and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors

LOG = logging.getLogger(__name__)

#: Takes the name of an event and its data; from any thread.
Tell = Callable[[str, Mapping[str, Any]], None]


class Refusals:
    """Counts them.

    :param tell: is told of the first, and of the end.
    :ivar count: how many there were since one was accepted.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.count = 0

    def note(self, error: errors.StorageError) -> None:
        """Note that a command was refused."""
        self.count += 1
        if self.count == 1:
            LOG.error('commands that change the guest are refused: %s', error)
            self._tell('journal-refuses', {'code': error.code, 'reason': str(error)})

    def note_end(self) -> None:
        """Note that a command was accepted."""
        if self.count:
            refused, self.count = self.count, 0
            LOG.info('commands are accepted again; %d were refused', refused)
            self._tell('journal-accepts', {'refused': refused})
