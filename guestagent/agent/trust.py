# SPDX-License-Identifier: Apache-2.0
"""Whose word counts: the part of an agent that has keys, or does without."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import steps
from guestagent.agent.steps import plain

if TYPE_CHECKING:
    from guestagent.agent import sealing

LOG = logging.getLogger(__name__)


class Trust:
    """Makes the steps, and passes on what concerns keys.

    :param conf: with the section ``[seal]``.
    :ivar unseal: the steps before all others.
    :ivar refuse: those that need to know the command.
    :raises guestagent.errors.ConfigError: the keys cannot be used.
    """

    def __init__(
        self, conf: Any, loop: loops.Loop, instance: str, disk: disks.Disk | None = None
    ) -> None:
        self.unseal: list[steps.Step] = []
        self.refuse: list[steps.Step] = []
        self._allow_plain = conf.seal.allow_plain
        self._sealing: sealing.Sealing | None = None
        if is_configured(conf):
            # What is needed for it is loaded only here.
            from guestagent.agent import sealing
            from guestagent.agent.steps import unseal

            self._sealing = sealing.Sealing(conf, loop, instance, disk)
            self.unseal.append(
                unseal.Unseal(self._sealing, conf.dispatcher.max_result_size)
            )
        elif not self._allow_plain:
            self.refuse.append(plain.Plain())

    def start(self) -> None:
        """Read what must survive a crash; without keys, say what that means.

        :raises guestagent.errors.StorageError: it cannot be read.
        """
        if self._sealing is not None:
            self._sealing.start()
        elif self._allow_plain:
            LOG.warning(
                'no key is set and [seal] allow_plain is true: everybody who can write '
                'to the bus may use every command here, under any name'
            )
        else:
            LOG.warning(
                'no key is set ([seal] key_file): plain commands that change the '
                'guest, and all of exec and file, are refused; allow_plain = true '
                'would let everybody on the bus use them'
            )

    def stop(self) -> None:
        """Let go of the disk."""
        if self._sealing is not None:
            self._sealing.stop()

    def reload(self) -> None:
        """Read the keys again."""
        if self._sealing is not None:
            self._sealing.reload()

    def note_snapshot(self) -> None:
        """Trust nothing that was sealed before: the guest goes on from a snapshot."""
        if self._sealing is not None:
            self._sealing.note_snapshot()

    def report(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the payload of a report, sealed where there is a key for it."""
        return payload if self._sealing is None else self._sealing.report(payload)


def is_configured(conf: Any) -> bool:
    """Whether there are to be keys."""
    return bool(conf.seal.key_file or conf.seal.key_command)
