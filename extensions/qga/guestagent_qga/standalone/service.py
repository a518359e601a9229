# SPDX-License-Identifier: Apache-2.0
"""The channel, its transport and a loop, from the options until a signal."""

from __future__ import annotations

import errno
import logging
import os
import signal
import stat
import time
from typing import Any

from guestagent import loop as loops
from guestagent_qga import guest as guests
from guestagent_qga import state, worker
from guestagent_qga.standalone import native
from guestagent_qga.standalone import options as choices
from guestagent_qga.transports import opening

LOG = logging.getLogger(__name__)

#: Seconds that requests get to be answered when the agent stops.
STOP_SECONDS = 5.0


class Service:
    """All of it.

    :raises guestagent_qga.standalone.options.UsageError: an option makes no sense.
    :raises OSError: the state cannot be kept.
    :ivar code: the exit code.
    """

    def __init__(self, options: choices.Options) -> None:
        self._options = options
        allowed = options.words('allow-rpcs')
        settings = guests.Settings(
            options.text('qga-version') or choices.VERSION,
            frozenset(options.words('block-rpcs')),
            frozenset(allowed) if allowed else None,
            int(options.number('answer-limit')),
            options.number('freeze-limit'),
        )
        kept = state.State(options.text('statedir'))
        self._native = native.Native(_native_options(options))
        self.guest = guests.Guest(self._native, settings, kept)
        self._loop = loops.Loop()
        self._workers = worker.Workers()
        self._transport: opening.Transport | None = None
        self.code = 0

    def listen(self) -> None:
        """Open the transport.

        :raises guestagent_qga.standalone.options.UsageError: it cannot be found.
        :raises OSError: nor be opened.
        """
        self._transport = self._make_transport()
        self._transport.start()

    def run(self) -> None:
        """Serve until a signal says stop."""
        self._loop.catch_signals((signal.SIGTERM, signal.SIGINT), self._signal)
        if self.guest.frozen:
            self._workers.submit(self.guest.look_again)
        self._loop.run()
        until = time.monotonic() + STOP_SECONDS
        if self._transport is not None:
            self._transport.pause()
            while not self._transport.is_idle and time.monotonic() < until:
                self._loop.run_once(0.1)
            self._transport.stop()
        self._native.stop()
        self._loop.close()

    def _signal(self, number: int) -> None:
        if self.guest.frozen:
            # Whoever thaws it then would be missed more than this.
            LOG.warning('%s does not count while frozen', signal.Signals(number).name)
            return
        self._loop.stop()

    def _make_transport(self) -> opening.Transport:
        options = self._options
        try:
            if 'LISTEN_FDS' in os.environ:
                from guestagent_qga.transports import listener

                passed = listener.passed_socket(os.environ)
                if passed is not None:
                    return listener.Listener(
                        self._loop, passed, self.guest, self._workers
                    )
            return opening.make(
                self._loop,
                options.text('method'),
                options.text('path'),
                self.guest,
                self._workers,
                retry=options.switch('retry-path'),
                failed=self._failed,
            )
        except ValueError as error:
            raise choices.UsageError(str(error)) from None

    def _failed(self, error: OSError) -> None:
        LOG.critical('error on channel: %s', error)
        self.code = 1
        self._loop.stop()


def _native_options(options: choices.Options) -> dict[str, dict[str, Any]]:
    """Return what the extensions are told.

    :raises OSError: the hook's folder cannot be made.
    """
    state_dir, hook = options.text('statedir'), options.text('fsfreeze-hook')
    told: dict[str, Any] = {
        'folder': os.path.join(state_dir, 'qga.fsfreeze'),
        'only': options.words('fsfreeze-only'),
    }
    if hook:
        told['hooks'] = _folder_of(hook, os.path.join(state_dir, 'qga.hooks'))
    return {'fsfreeze': told}


def _folder_of(hook: str, folder: str) -> str:
    """Return a folder with nothing in it but a link: there, hooks are all of one.

    :raises OSError: it cannot be made, or others may have put something there.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(errno.EPERM, 'it is not only ours', folder)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.symlink(os.path.abspath(hook), os.path.join(folder, 'hook'))
    return folder
