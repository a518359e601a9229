# SPDX-License-Identifier: Apache-2.0
"""Other data in the place of the server's: if that fails, the server is as it was."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from guestagent import errors, extension
from guestagent_datastore import aside, base, files

LOG = logging.getLogger(__name__)


class Replacing(base.Base):
    """Keeps the old data until the new has proved good."""

    @contextlib.contextmanager
    def replacing(self, needed: int, context: extension.Context) -> Iterator[None]:
        """Stop the server and empty its data folder; then start it with what is there.

        :param needed: how many bytes will come; 0: nobody knows.
        :raises guestagent.errors.GuestError: the body failed, or the server does not
            serve with the new data.  It is as it was, or there was no room for both:
            then there is no data any more.
        """
        ran = self.records.wanted.run
        self.control.pause(context) if ran else self.control.stop(context)
        self.engine.close()
        lost = ''
        try:
            lost = self._put_aside(needed, context)
            yield
            context.report_progress(None, 'starting the server')
            self.control.start(context)
            self.engine.secure()
        except BaseException as error:
            if not self.give_back(ran) and isinstance(error, errors.GuestError):
                self._forsake(error, lost)
            raise
        aside.Aside(self.engine).forget()

    def _put_aside(self, needed: int, context: extension.Context) -> str:
        """Make room; returns why the old data could not be kept, or ``''``."""
        lost = aside.Aside(self.engine).keep(needed)
        if lost:
            LOG.warning('the old data goes before the new comes: %s', lost)
            context.report_progress(None, f'removing the old data: {lost}')
        files.empty(self.engine.place.data)
        return lost

    def _forsake(self, error: errors.GuestError, lost: str) -> None:
        """There is nothing to go back to."""
        self.control.stop()
        if lost:
            raise type(error)(f'{error}; there is no data any more: {lost}')
