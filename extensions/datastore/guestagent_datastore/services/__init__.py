# SPDX-License-Identifier: Apache-2.0
"""Who runs the server: systemd, or the extension itself where there is none."""

from __future__ import annotations

import abc
import os
import pathlib
from typing import Any

from guestagent_datastore import engine as engines


class Service(abc.ABC):
    """Starts and stops the server of an engine; neither waits until it serves.

    :ivar restarts: whether it starts a server that crashed by itself.
    """

    restarts = False

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine

    @abc.abstractmethod
    def start(self) -> None:
        """Start it.

        :raises guestagent.errors.GuestError: it cannot be started.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask it to end in good order, at once; it may take its time."""

    @abc.abstractmethod
    def pid(self) -> int:
        """Return its process, which may not listen yet; 0: there is none."""

    @abc.abstractmethod
    def set_enabled(self, enabled: bool) -> None:
        """Say whether it starts with the guest."""


def make(engine: engines.Engine, conf: Any) -> Service:
    """Return what the options name."""
    which = conf.service
    if which == 'auto':
        which = 'systemd' if os.path.isdir('/run/systemd/system') else 'own'
    if which == 'systemd':
        from guestagent_datastore.services import systemd

        return systemd.Systemd(engine, conf.state_change_wait_time)
    from guestagent_datastore.services import own

    return own.Own(engine, pathlib.Path(conf.state_folder))
