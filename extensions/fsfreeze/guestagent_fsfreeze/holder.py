# SPDX-License-Identifier: Apache-2.0
"""The process that freezes, and thaws at a limit whatever becomes of the agent.

::

    python holder.py FOLDER [scope]

Its standard input is a socket that listens.  Who connects first gives it an order, and
hears ``freezing`` with the devices that will be frozen; it answers ``go``.  From then
on nothing is opened or imported that a frozen file system might have to give.
Anybody who connects can say ``thaw``; so does the limit, and SIGTERM.

In a scope it is out of the agent's control group; else it leaves that by itself.
Messages are JSON objects, each one packet.  It runs without the agent's libraries, and
with no others: it begins in milliseconds, and nothing of it is read later.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from guestagent_fsfreeze import calls, freezing, hooks, leaving, mounts, stack, state

#: The longest message, in bytes.
SIZE_MAX = 128 * 1024
#: Seconds that who has started it may take to say something.
PATIENCE = 30.0
_ENDS = (signal.SIGTERM, signal.SIGINT)

Message = dict[str, Any]


class Refused(Exception):
    """Nothing is frozen; says why."""


class Holder:
    """One freeze, from the order to the thaw.

    :param folder: of the state file.
    """

    def __init__(self, listener: socket.socket, folder: str) -> None:
        self._listener = listener
        self._folder = folder
        self._links: list[socket.socket] = []
        self._order: Message = {}
        self._hooks: list[str] = []
        self._freezer = freezing.Freezer([], calls.Calls())
        self._said: Message = {'state': state.PREPARING, 'pid': os.getpid()}
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._over = False
        self._since = 0.0

    def serve(self) -> None:
        """Do what is ordered; return when all is thawed, and the hooks have run."""
        self._listener.settimeout(PATIENCE)
        first, _ = self._listener.accept()
        first.settimeout(PATIENCE)
        self._links.append(first)
        try:
            self._prepare(first)
        except (Refused, hooks.Failed, OSError) as error:
            self._tell(state=state.THAWED, by='error', count=0, error=str(error))
            self._end()
            return
        self._hold()

    # Before

    def _prepare(self, first: socket.socket) -> None:
        """Get all that is needed, and leave to go on."""
        self._order = order = _receive(first)
        self._hooks = order['hooks']
        self._tell(hooks=self._hooks, hook_timeout=order['hook_timeout'])
        hooks.freeze(self._hooks, order['hook_timeout'])
        targets, affected = self._choose()
        self._freezer = freezing.Freezer(targets, calls.Calls())
        points = [target.point for target in targets]
        self._tell(state=state.FREEZING, mountpoints=points, devices=affected)
        answer = _receive(first)
        if answer.get('verb') != 'go':
            raise Refused(answer.get('reason', 'it was not wanted'))
        leaving.stay()

    def _choose(self) -> tuple[list[freezing.Target], list[str]]:
        """Return what is to be frozen, in its order, and the devices it holds up."""
        found = mounts.read()
        points = self._order['mountpoints']
        order = self._order
        groups = mounts.freezable(found, points, order['never'], order['only'])
        system = stack.of_system(found)
        targets = []
        for device in system.order(groups):
            target = _open(device, groups[device], points or ())
            if target is not None:
                targets.append(target)
        devices = [target.device for target in targets]
        others = sorted({mount.device for mount in found} - set(devices))
        affected = devices + system.above(devices, others)
        if mounts.of_path(self._folder, found) in affected:
            raise Refused(
                f'{self._folder} is on a file system that is to be frozen: name a '
                f'folder in memory, [fsfreeze] folder'
            )
        return targets, affected

    # Frozen

    def _hold(self) -> None:
        """Freeze, wait for what thaws, and thaw."""
        limit = self._order['limit']
        self._since = time.time()
        until = time.monotonic() + limit
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in _ENDS:
            signal.signal(number, lambda *_: None)
        threading.stack_size(256 * 1024)
        freezer = threading.Thread(target=self._freeze, daemon=True)
        freezer.start()
        while not self._over:
            left = until - time.monotonic()
            if left <= 0:
                self._thaw('limit')
            else:
                self._turn(left)
        # What is only frozen now is thawed by who has frozen it.
        freezer.join()
        self._end()

    def _freeze(self) -> None:
        self._freezer.freeze()
        os.write(self._woken, b'\0')

    def _turn(self, seconds: float) -> None:
        """Wait for something to happen, and see to it."""
        readers: list[Any] = [self._wake, self._listener, *self._links]
        ready, _, _ = select.select(readers, [], [], seconds)
        if self._wake in ready:
            if set(os.read(self._wake, 64)) & set(_ENDS):
                self._thaw('signal')
            self._look()
        if self._listener in ready:
            link, _ = self._listener.accept()
            link.settimeout(PATIENCE)
            self._links.append(link)
        for link in [one for one in self._links if one in ready]:
            self._hear(link)

    def _look(self) -> None:
        """See what has become of the freeze, once it has come to its end."""
        freezer = self._freezer
        if self._over or not freezer.done or self._said['state'] == state.FROZEN:
            return
        if freezer.error is not None:
            point, error = freezer.error
            self._said['error'] = f'{point} cannot be frozen: {error.strerror}'
            self._thaw('error')
        elif not freezer.frozen:
            self._thaw('nothing')
        else:
            points = [target.point for target in freezer.frozen]
            self._tell(
                state=state.FROZEN,
                since=self._since,
                until=self._since + self._order['limit'],
                mountpoints=points,
                skipped=freezer.skipped,
            )

    def _hear(self, link: socket.socket) -> None:
        try:
            message = _receive(link)
            if message.get('verb') == 'thaw':
                self._thaw('command')
            else:
                _send(link, self._said)
        except (OSError, Refused):
            self._links.remove(link)
            link.close()

    # After

    def _thaw(self, by: str) -> None:
        if not self._over:
            self._over = True
            count = self._freezer.thaw()
            self._tell(
                state=state.THAWED,
                by=by,
                count=count,
                thawed=time.time(),
                skipped=self._freezer.skipped,
            )

    def _end(self) -> None:
        """Run the hooks, and say that all is over."""
        faults = hooks.thaw(self._hooks, self._order.get('hook_timeout', 0))
        self._tell(faults=self._freezer.faults + faults, ended=True)

    def _tell(self, **fields: Any) -> None:
        """Say something new, in the file and to all who listen."""
        self._said.update(fields)
        state.write(self._folder, self._said)
        for link in self._links:
            with contextlib.suppress(OSError):
                _send(link, self._said)


def _open(
    device: str, group: Sequence[mounts.Mount], points: Collection[str]
) -> freezing.Target | None:
    """Open a file system, under the name by which it was asked for.

    :raises Refused: it cannot be.
    """
    try:
        opened = mounts.open_(group)
    except OSError as error:
        raise Refused(f'{group[0].point}: {error.strerror}') from None
    if opened is None:
        return None
    asked = [mount.point for mount in group if mount.point in points]
    return freezing.Target((asked or [opened[0].point])[0], device, opened[1])


def _send(link: socket.socket, message: Message) -> None:
    link.send(json.dumps(message).encode())


def _receive(link: socket.socket) -> Message:
    data = link.recv(SIZE_MAX)
    if not data:
        raise Refused('the agent has gone')
    found: Message = json.loads(data)
    return found


def main() -> None:
    """Be the holder."""
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    if sys.argv[2:] != ['scope']:
        leaving.leave()
    Holder(socket.socket(fileno=0), sys.argv[1]).serve()


if __name__ == '__main__':
    main()
