# SPDX-License-Identifier: Apache-2.0
"""Keys in the agent: read, read again, and what goes through the seal.

Imported only where keys are configured.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from guestagent import errors, keyfile
from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import machine, recordfile, replayfile
from guestagent.seal import guest, keys, window

LOG = logging.getLogger(__name__)


class Sealing:
    """All that an agent with keys has beside one without.

    :param conf: with the section ``[seal]``.
    :param disk: of the file that remembers former commands.
    :raises guestagent.errors.ConfigError: the keys cannot be read, or PyNaCl is not
        there.
    """

    def __init__(
        self, conf: Any, loop: loops.Loop, instance: str, disk: disks.Disk | None = None
    ) -> None:
        self._options = options = conf.seal
        limits = window.Limits(options.max_age * 1000, options.clock_skew * 1000)
        self._guest = guest.Guest(instance, read(options), limits)
        path = os.path.join(conf.state_dir, 'replay')
        self._file = replayfile.ReplayFile(
            recordfile.RecordFile(path, replayfile.KIND, replayfile.VERSION, disk),
            self._guest.window,
            loop,
            instance,
        )

    def start(self) -> None:
        """Read what is known of former commands.

        :raises guestagent.errors.StorageError: it cannot be.
        """
        self._file.open(machine.read())

    def stop(self) -> None:
        """Let go of the disk."""
        self._file.close()

    def reload(self) -> None:
        """Read the keys again; those that make no sense change nothing."""
        try:
            self._guest.ring = read(self._options)
        except errors.ConfigError as error:
            LOG.error('the keys stay as they were: %s', error)
        else:
            LOG.info('the keys were read again')

    def note_snapshot(self) -> None:
        """Let in nothing that was sealed before now."""
        self._file.renew()

    def open(self, text: Any) -> guest.Opened:
        """Return the command in a sealed value; what gets in is kept.

        :raises guestagent.seal.guest.Unanswered: it gets no answer.
        """
        opened = self._guest.open(text, int(time.time() * 1000))
        if opened.refusal is None:
            self._file.keep(opened.seal)
        return opened

    def report(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the payload of a report, sealed if there is a key for reports."""
        return self._guest.report(payload, time.time())


def read(options: Any) -> keys.GuestRing:
    """Return the keys that the section ``[seal]`` names.

    :raises guestagent.errors.ConfigError: they cannot be read, or PyNaCl is not there.
    """
    return keys.GuestRing(keyfile.read(options.key_file, options.key_command))
