# SPDX-License-Identifier: Apache-2.0
"""One freeze, as the agent sees it: from its order to the last hook after the thaw."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension, hookfolder
from guestagent_fsfreeze import calls, control, hooks, mounts, stack, state

if TYPE_CHECKING:
    from guestagent_fsfreeze.extension import Fsfreeze

LOG = logging.getLogger(__name__)

#: Seconds that a thaw, with its hooks, is waited for.
THAW_SECONDS = 270.0
#: Seconds that are waited for one that was not frozen, besides those of the hooks.
PATIENCE = 5.0


class Session:
    """See the module; for any thread.

    :ivar since: when it was frozen; 0: it is not (yet).
    :ivar until: when it thaws by itself.
    :ivar points: what is frozen.
    :ivar over: set when all is thawed, and the hooks have run.
    """

    def __init__(self, owner: Fsfreeze) -> None:
        self._owner = owner
        self._folder: str = owner.conf.folder
        self._link: control.Link | None = None
        self._left = self._released = False
        self._changed = threading.Condition()
        self._said: control.Message = {}
        self.since = self.until = 0.0
        self.points: list[str] = []
        self.over = threading.Event()

    def freeze(
        self, context: extension.Context, points: list[str] | None, limit: float
    ) -> dict[str, Any]:
        """Freeze, and return what the command returns.

        :raises guestagent.errors.GuestError: nothing is frozen, as it should be.
        """
        conf = self._owner.conf
        found = hookfolder.find(conf.hooks)
        order = {
            'mountpoints': points,
            'only': list(conf.only),
            'never': list(conf.never),
            'limit': limit,
            'hooks': found.programs,
            'hook_timeout': conf.hook_timeout,
        }
        try:
            if found.refused:
                raise errors.GuestError(found.refused[0])
            link = self._link = control.start(self._folder, order)
        except errors.GuestError:
            self.over.set()
            raise
        context.on_cancel(lambda: link.send(verb='thaw'))
        self._begin()
        self._agree(link, limit)
        said = self._wait(
            lambda said: said.get('state') in (state.FROZEN, state.THAWED)
        )
        if context.cancelled or said.get('state') != state.FROZEN:
            # What is stuck may be so for longer; it is not waited for.
            hooks_seconds = len(said.get('hooks', ())) * conf.hook_timeout
            self.over.wait(hooks_seconds + PATIENCE)
            context.check()
        if not self.since and said.get('by') != 'nothing':
            raise errors.GuestError(_reason(said, limit))
        skipped = [
            {'mountpoint': point, 'reason': reason}
            for point, reason in said.get('skipped', ())
        ]
        return {
            'frozen': self.points,
            'count': len(self.points),
            'thaws_at': self.until or None,
            'skipped': skipped,
        }

    def resume(self, said: control.Message) -> None:
        """Go on with what an agent before has begun.

        :param said: what the holder has said in its file.
        """
        self._link = control.connect(self._folder)
        if self._link is None:
            threading.Thread(target=self._rescue, daemon=True).start()
            return
        self._note_frozen(said)
        if self.since:
            self._owner.report_facts({'state': state.FROZEN})
        left = max(0.0, self.until - time.time())
        try:
            self._owner.hold_storage(said.get('devices', []), left)
        except errors.GuestError as error:
            LOG.error('%s', error)
        self._link.send(verb='status')
        self._begin()

    def begin_thaw(self) -> None:
        """Have it thawed; does not wait."""
        if self._link is not None:
            self._link.send(verb='thaw')

    def thaw(self) -> int:
        """Wait until it is thawed and the hooks have run; return how many there were.

        :raises guestagent.errors.GuestError: that takes too long.
        """
        if not self.over.wait(THAW_SECONDS):
            raise errors.GuestError(
                f'the thaw, or its hooks, did not end within {THAW_SECONDS:g} s'
            )
        return int(self._said.get('count', 0))

    def leave(self) -> None:
        """Hear nothing any more: the holder goes on."""
        self._left = True
        if self._link is not None:
            self._link.shut()

    def _begin(self) -> None:
        threading.Thread(target=self._follow, name='fsfreeze', daemon=True).start()

    def _agree(self, link: control.Link, limit: float) -> None:
        """When all is ready, have the agent keep off, and say go."""
        said = self._wait(lambda said: said.get('state') == state.FREEZING)
        if said.get('state') != state.FREEZING:
            return
        try:
            self._owner.hold_storage(said['devices'], limit)
        except errors.GuestError as error:
            link.send(verb='abort', reason=str(error))
        else:
            link.send(verb='go')

    def _wait(self, reached: Callable[[control.Message], bool]) -> control.Message:
        """Return what was said when it is so, or all is over."""
        with self._changed:
            self._changed.wait_for(lambda: reached(self._said) or self.over.is_set())
            return self._said

    def _follow(self) -> None:
        """Hear what the holder says until it is over; a thread."""
        assert self._link is not None
        try:
            while not self._said.get('ended'):
                self._take(self._link.receive())
        except control.Gone:
            if not self._left:
                self._rescue()
        self._link.close()

    def _take(self, said: control.Message) -> None:
        if said['state'] == state.FROZEN and not self.since:
            self._note_frozen(said)
            self._report('frozen', mountpoints=self.points, thaws_at=self.until)
            self._owner.report_facts({'state': state.FROZEN})
        elif said['state'] == state.THAWED and not self._released:
            self._note_thawed(said)
        if said.get('ended'):
            for fault in said['faults']:
                LOG.error('%s', fault)
            state.remove(self._folder)
            self.over.set()
        with self._changed:
            self._said = said
            self._changed.notify_all()

    def _note_frozen(self, said: control.Message) -> None:
        self.points = said.get('mountpoints', [])
        self.until = said.get('until', 0.0)
        self.since = said.get('since', 0.0)

    def _note_thawed(self, said: control.Message) -> None:
        self._released = True
        self._owner.release_storage()
        since = said.get('since')
        if not since:
            return
        LOG.info('%d file systems are thawed, by: %s', said['count'], said['by'])
        self._report(
            'thawed',
            by=said['by'],
            mountpoints=said['mountpoints'],
            seconds=round(max(0.0, said['thawed'] - since), 3),
        )
        self._owner.report_facts({'state': state.THAWED})

    def _report(self, name: str, **data: Any) -> None:
        self._owner.report_event(name, data)

    def _rescue(self) -> None:
        """Thaw in the stead of a holder that has gone, if it has not done it."""
        said = state.read(self._folder) or dict(self._said)
        if said.get('state') != state.THAWED:
            LOG.error('the process that should thaw has gone: thawing')
            count = _thaw(said.get('mountpoints', []), [])
            error = 'the process that freezes has ended without a word'
            said |= {'state': state.THAWED, 'by': 'agent', 'count': count}
            said |= {'thawed': time.time(), 'error': error}
        if not said.get('ended'):
            faults = hooks.thaw(said.get('hooks', []), said.get('hook_timeout', 0))
            said |= {'faults': faults, 'ended': True}
        self._take(said)


def resume(owner: Fsfreeze) -> Session | None:
    """Take up what an agent before has left; ``None``: nothing."""
    said = state.read(owner.conf.folder)
    if said is None:
        return None
    found = Session(owner)
    found.resume(said)
    return found


def thaw_others(conf: Any) -> int:
    """Thaw all that may be, by whomever it was frozen; return how many were.

    :raises guestagent.errors.GuestError: this user may not.
    """
    try:
        return _thaw(None, conf.never, conf.only)
    except PermissionError as error:
        raise errors.GuestError(
            f'file systems cannot be thawed: {error.strerror}'
        ) from None


def _thaw(
    points: list[str] | None, never: list[str], only: list[str] | None = None
) -> int:
    """Thaw file systems, those first that hold others."""
    found = mounts.read()
    groups = mounts.freezable(found, points, never, only or ())
    kernel, count = calls.Calls(), 0
    for device in reversed(stack.of_system(found).order(groups)):
        opened = mounts.open_(groups[device])
        if opened is not None:
            try:
                count += calls.thaw_fully(kernel, opened[1])
            finally:
                os.close(opened[1])
    return count


def _reason(said: control.Message, limit: float) -> str:
    if said.get('by') == 'limit':
        return f'the file systems could not be frozen within {limit:g} s'
    if said.get('by') == 'command':
        return 'the file systems were thawed before all were frozen'
    return str(said.get('error', 'the file systems were thawed before all were frozen'))
