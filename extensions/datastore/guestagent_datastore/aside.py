# SPDX-License-Identifier: Apache-2.0
"""The data of before a restore, on the same volume until the restored has proved good.

It is only renamed.  What the engine keeps beside the data (``Place.state``) belongs to
it, and is copied: these files are small.  A crash at any point leaves one of the two
whole, and :attr:`Aside.exists` says whether it is the old.
"""

from __future__ import annotations

import logging
import pathlib
import shutil

from guestagent_datastore import engine as engines
from guestagent_datastore import files

LOG = logging.getLogger(__name__)

#: How much more than the data itself its restore may need for a while, in percent.
MARGIN_PERCENT = 10


class Aside:
    """The data of before, of one server."""

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine
        self._data = engine.place.data
        self._state = engine.place.state
        self._old = _beside(self._data, 'before')
        self._old_state = _beside(self._state, 'before')
        self._gone = _beside(self._data, 'gone')

    @property
    def exists(self) -> bool:
        """Whether there is data of before."""
        return self._old.exists()

    def keep(self, needed: int) -> str:
        """Put the stopped server's data aside, where there is room for both.

        :param needed: how many bytes will come; 0: nobody knows.
        :returns: why it is not kept; ``''``: it is, or there is none.
        :raises guestagent.errors.StorageError: there is not even room for the state.
        """
        if not self._engine.initialised():
            # What is there of an earlier one stays what there is to go back to.
            self.tidy()
            return ''
        self.forget()
        needed = needed or files.size(self._data)
        free = shutil.disk_usage(self._data).free
        if free < needed * (100 + MARGIN_PERCENT) // 100:
            return (
                f'the volume has no room for the old data beside the new '
                f'(free: {free >> 20} MiB, needed: about {needed >> 20} MiB)'
            )
        files.copy(self._state, self._old_state)
        try:
            self._data.rename(self._old)
        except OSError as error:
            # Such as a volume that is mounted right there.
            shutil.rmtree(self._old_state)
            return f'{self._data} cannot be renamed: {error.strerror}'
        return ''

    def put_back(self) -> None:
        """Have the old data where it was; the server is stopped.

        It may be repeated after a crash.

        :raises guestagent.errors.StorageError: that cannot be.
        """
        files.empty(self._data)
        files.copy(self._old_state, self._state)
        if self._data.exists():
            self._data.rmdir()
        self._old.rename(self._data)
        self.tidy()

    def forget(self) -> None:
        """Remove it: the new data is good."""
        if self.exists:
            # At once, so that no half of it could ever be put back.
            self._old.rename(self._gone)
        self.tidy()

    def tidy(self) -> None:
        """Remove what nobody will put back."""
        shutil.rmtree(self._gone, ignore_errors=True)
        if not self.exists:
            shutil.rmtree(self._old_state, ignore_errors=True)


def _beside(path: pathlib.Path, what: str) -> pathlib.Path:
    return path.with_name(f'{path.name}.{what}')
