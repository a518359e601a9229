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
        lost = self._put_aside(needed, ran, context)
        try:
            if lost:
                LOG.warning('the old data goes before the new comes: %s', lost)
                context.report_progress(None, f'removing the old data: {lost}')
            files.empty(self.engine.place.data)
            yield
            context.report_progress(None, 'starting the server')
            self.control.start(context)
            self.engine.secure()
        except BaseException as error:
            LOG.warning('the data cannot be replaced: %s', error)
            if not self.give_back(ran) and isinstance(error, errors.GuestError):
                self._forsake(error, lost)
            raise
        aside.Aside(self.engine).forget()

    def _put_aside(self, needed: int, ran: bool, context: extension.Context) -> str:
        """Stop the server for other data; nothing has changed when that fails.

        :param ran: whether the server is meant to run.
        :returns: why the old data cannot be kept; ``''``: it is, or there is none.
        """
        self.stop_server(ran)
        try:
            context.check()
            return aside.Aside(self.engine).keep(needed)
        except errors.GuestError:
            if ran:
                self.control.start()
            raise

    def _forsake(self, error: errors.GuestError, lost: str) -> None:
        """There is nothing to go back to."""
        self.control.stop()
        if lost:
            raise type(error)(f'{error}; there is no data any more: {lost}')
