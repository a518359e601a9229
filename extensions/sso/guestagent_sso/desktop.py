# SPDX-License-Identifier: Apache-2.0
"""``desktop``: tell who comes and goes and whose screen is locked, and speak to them.

It is in the agent's own process, with no rights: what needs root is ``sso``'s.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension

if TYPE_CHECKING:
    from oslo_config import cfg

    from guestagent_sso import members, tracker, watch

LOG = logging.getLogger(__name__)

#: How many changes are kept for who asks.
KEPT = 64
#: The longest text and title of a notification.
TEXT_MAX, TITLE_MAX = 4000, 200
#: Seconds that the thread may take to end.
STOP_SECONDS = 2.0


class Desktop(extension.Extension):
    """Tells of sessions as they begin, end and are locked; ``desktop.notify``."""

    version = '1.0'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        # Replaced, never changed: it is read on other threads.
        self._changes: tuple[dict[str, Any], ...] = ()
        self._tracker: tracker.Tracker
        self._watch: watch.Watch
        self._members: members.Members | None = None
        self._problem = ''
        self._thread: threading.Thread | None = None
        self._stop_read, self._stop_write = -1, -1

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options of [desktop]."""
        from guestagent_sso import conf

        return conf.DESKTOP

    def start(self) -> None:
        """Begin to watch, and let the agents of sessions in."""
        from guestagent_sso import members, tracker, watch

        self._tracker = tracker.Tracker(self._note)
        self._watch = watch.Watch(self._tracker)
        try:
            self._members = members.Members(self.conf.folder, self._tracker)
        except OSError as error:
            self._problem = (
                f'no agents of sessions: {self.conf.folder}: {error.strerror}'
            )
            LOG.warning('%s', self._problem)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name='desktop', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and let go of what it has."""
        if self._thread is None:
            return
        os.close(self._stop_write)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            LOG.warning('the watch over sessions did not end in time')
            return  # or it would meet closed files
        os.close(self._stop_read)
        self._watch.close()
        if self._members is not None:
            self._members.close()

    def health(self) -> str:
        """Return why nothing is heard of sessions, if so."""
        return self._watch.problem or self._problem or 'ok'

    @extension.command(mutates=False, inline=True)
    def sessions(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return the sessions of users, as they are known without asking anybody.

        They are those of ``sso.sessions``; ``locked`` counts also where a desktop was
        asked to lock its screen, and does not tell logind that it has.
        """
        return [session.tell() for session in self._tracker.sessions()]

    @extension.command(mutates=False, inline=True)
    def changes(self, context: extension.Context, after: int = -1) -> dict[str, Any]:
        """Return what has happened after a change of a number: ``{last, changes}``.

        Each is ``{number, event, session, user, uid, seat, type}``, the oldest first;
        the last 64 are known.  ``last`` is what to ask with next; -1 asks for no more.
        """
        kept = self._changes
        return {
            'last': kept[-1]['number'] if kept else 0,
            'changes': [each for each in kept if 0 <= after < each['number']],
        }

    @extension.command(mutates=True, timeout=30)
    def notify(
        self,
        context: extension.Context,
        text: str,
        title: str = '',
        session: str | None = None,
    ) -> dict[str, str]:
        """Show a notification on the desktop of the active session; return its id.

        The result is ``{session}``.

        :raises guestagent.errors.InvalidArgument: text or title are too long, or there
            is no such session.
        :raises guestagent.errors.GuestError: nobody is logged in, the session is not
            active, has no agent, or shows no notifications.
        """
        from guestagent_sso import members

        for what, value, longest in (
            ('text', text, TEXT_MAX),
            ('title', title, TITLE_MAX),
        ):
            if len(value) > longest or '\0' in value:
                raise errors.InvalidArgument(
                    f'{what}: it must have no NUL, and at most {longest} characters'
                )
        chosen = members.choose(self._tracker, session)
        if self._members is None:
            raise errors.GuestError(self._problem)
        self._members.ask(chosen, {'do': 'notify', 'title': title, 'text': text})
        return {'session': chosen}

    def _note(self, event: str, about: dict[str, Any]) -> None:
        """Tell of a change; on the thread."""
        number = self._changes[-1]['number'] + 1 if self._changes else 1
        change = {'number': number, 'event': event, **about}
        self._changes = (*self._changes[1 - KEPT :], change)
        self.report_event(event, about)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception:
            LOG.exception('the watch over sessions has ended')
            self._problem = 'the watch over sessions has ended: see the log'

    def _turn(self) -> bool:
        """Sleep until something comes, and take it; return whether to go on."""
        self._watch.connect()
        poll = select.poll()
        poll.register(self._stop_read, select.POLLIN)
        heard = self._watch.register(poll)
        if self._members is not None:
            self._members.register(poll)
        due = self._watch.due()
        for fd, _events in poll.poll(None if due is None else due * 1000 + 1):
            if fd == self._stop_read:
                return False
            if fd == heard:
                self._watch.hear()
            elif self._members is not None:
                self._members.take(fd)
        return True
