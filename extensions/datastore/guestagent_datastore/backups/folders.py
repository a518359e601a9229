# SPDX-License-Identifier: Apache-2.0
"""Folders on the volume for what is needed while a backup is made or restored."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from guestagent_datastore import engine as engines

PREFIX = 'guestagent-work-'


class Folders:
    """Makes them, and removes those of agents that were killed."""

    def __init__(self) -> None:
        self._used: set[pathlib.Path] = set()

    @contextlib.contextmanager
    def work(self, engine: engines.Engine) -> Iterator[pathlib.Path]:
        """Give an empty folder in which the server's account may write."""
        volume = engine.place.volume
        folder = pathlib.Path(tempfile.mkdtemp(dir=volume, prefix=PREFIX))
        self._used.add(folder)
        try:
            if os.geteuid() == 0:
                shutil.chown(folder, engine.place.user)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._used.discard(folder)

    def tidy(self, engine: engines.Engine) -> None:
        """Remove those that nobody uses."""
        for folder in engine.place.volume.glob(f'{PREFIX}*'):
            if folder not in self._used:
                shutil.rmtree(folder, ignore_errors=True)
