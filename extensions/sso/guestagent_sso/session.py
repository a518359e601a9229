# SPDX-License-Identifier: Apache-2.0
"""``guestagent-session``: acts in a desktop's session for the guest agent.

The session starts it; it ends with the session's bus.  It tells the agent when the
screen is locked, and shows notifications.  doc/sso.rst has its protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from typing import Any

from guestagent_sso import bus

SOCKET = '/run/guestagent-desktop/session.sock'
VERSION = 1
LINE_MAX = 64 * 1024
#: Seconds until an agent that is not there is looked for again.
RETRY_SECONDS = 15.0

#: Desktops say by this signal, of several interfaces, that the screen is locked.
_LOCKED = 'ActiveChanged'
_LOCKERS = (
    'org.gnome.ScreenSaver',
    'org.freedesktop.ScreenSaver',
    'org.mate.ScreenSaver',
    'org.cinnamon.ScreenSaver',
    'org.xfce.ScreenSaver',
)
_NOTIFICATIONS = 'org.freedesktop.Notifications'
_NOTIFICATIONS_PATH = '/org/freedesktop/Notifications'


class Agent:
    """The two connections of a session-level agent: to the session, and to the agent.

    :raises bus.BusError: the session has no bus.
    """

    def __init__(self, address: str, path: str, session: str | None) -> None:
        self._path = path
        self._session = session
        self._agent: socket.socket | None = None
        self._data = bytearray()
        self._retry = 0.0
        self._locked: bool | None = None
        self._bus = bus.Connection(address)
        for name in _LOCKERS:
            rule = f"type='signal',interface='{name}',member='{_LOCKED}'"
            self._bus.ask_driver('AddMatch', 's', rule)

    def run(self) -> None:
        """Serve until the session's bus ends.

        :raises bus.BusError: it did.
        """
        while True:
            self._connect()
            # Also what came while an answer of the bus was awaited.
            self._listen()
            poll = select.poll()
            poll.register(self._bus, select.POLLIN)
            wait: float | None = None
            if self._agent is not None:
                poll.register(self._agent, select.POLLIN)
            else:
                wait = max(0.0, self._retry - time.monotonic()) * 1000 + 1
            ready = {fd for fd, _events in poll.poll(wait)}
            if self._agent is not None and self._agent.fileno() in ready:
                self._read(self._agent)

    def close(self) -> None:
        """Leave both."""
        self._lose()
        self._bus.close()

    def _connect(self) -> None:
        if self._agent is not None or time.monotonic() < self._retry:
            return
        self._agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._agent.connect(self._path)
            self._send({'hello': VERSION, 'session': self._session})
            self._tell()
        except OSError:
            self._lose()

    def _lose(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = None
        self._data.clear()
        self._retry = time.monotonic() + RETRY_SECONDS

    def _send(self, message: dict[str, Any]) -> None:
        if self._agent is not None:
            self._agent.sendall(json.dumps(message).encode() + b'\n')

    def _listen(self) -> None:
        """Take what has come on the session's bus."""
        for message in self._bus.pending():
            if message.member == _LOCKED and message.signature == 'b':
                self._locked = message.body[0]
                try:
                    self._tell()
                except OSError:
                    self._lose()

    def _tell(self) -> None:
        if self._locked is not None:
            self._send({'locked': self._locked})

    def _read(self, agent: socket.socket) -> None:
        try:
            data = agent.recv(LINE_MAX)
            self._data += data
            *lines, rest = self._data.split(b'\n')
            self._data = rest
            if not data or len(rest) > LINE_MAX:
                raise ValueError
            for line in lines:
                message = json.loads(line)
                if 'do' in message:
                    self._send({'id': message['id'], 'error': self._obey(message)})
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            self._lose()

    def _obey(self, message: dict[str, Any]) -> str:
        """Do what the agent asks; return why it could not be done, or ``''``."""
        if message['do'] != 'notify':
            return 'guestagent-session does not know this; it may be too old'
        text = message['text']
        try:
            (able,) = self._notifications('GetCapabilities')
            if 'body-markup' in able:
                text = _plain(text)
            self._notifications(
                'Notify',
                'susssasa{sv}i',
                *('guestagent', 0, 'dialog-information'),
                # A title there must be.
                *(message['title'] or 'Message', text, [], {}, -1),
            )
        except bus.CallError as error:
            return f'the desktop shows no notifications: {error}'
        return ''

    def _notifications(self, member: str, signature: str = '', *body: Any) -> Any:
        names = (_NOTIFICATIONS, _NOTIFICATIONS_PATH, _NOTIFICATIONS)
        return self._bus.call(*names, member, signature, *body, seconds=3)


def _plain(text: str) -> str:
    """Return text in which nothing is mark-up."""
    return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def main() -> int:
    """Run until the session ends; return 0, or 1 where it has no bus."""
    folder = os.environ.get('XDG_RUNTIME_DIR', '')
    address = os.environ.get('DBUS_SESSION_BUS_ADDRESS', f'unix:path={folder}/bus')
    path = sys.argv[1] if len(sys.argv) > 1 else SOCKET
    try:
        agent = Agent(address, path, os.environ.get('XDG_SESSION_ID'))
    except (bus.BusError, bus.CallError) as error:
        print(f'guestagent-session: {error}', file=sys.stderr)
        return 1
    with contextlib.closing(agent), contextlib.suppress(bus.BusError):
        agent.run()
    return 0


if __name__ == '__main__':
    sys.exit(main())
