# SPDX-License-Identifier: Apache-2.0
"""The session-level agents: who they are, and what is said with them.

Each has a connection to a socket of the agent's; on it there are lines of JSON.  Who
it is the kernel tells (SO_PEERCRED), and logind, not the line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import socket
import struct
import threading
from typing import Any

from guestagent import errors
from guestagent_sso import logind, tracker

LOG = logging.getLogger(__name__)

NAME = 'session.sock'
VERSION = 1
#: The longest line, and how many programs may be connected, of one user and of all.
LINE_MAX = 64 * 1024
OF_USER_MAX, ALL_MAX = 8, 64
#: Seconds that an agent may take to do what it was asked.
SECONDS = 10.0
_CREDENTIALS = struct.Struct('iII')
_SCOPE = re.compile(r'/session-([^/]+)\.scope(?:/|$)', re.M)


class Member:
    """One session-level agent.

    :ivar session: the id of its session; ``''``: it has not been let in.
    """

    def __init__(self, connection: socket.socket) -> None:
        data = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        self.pid, self.uid, _gid = _CREDENTIALS.unpack(data)
        self.connection = connection
        self.session = ''
        self.data = bytearray()
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send a line, from any thread; errors are an OSError."""
        with self._lock:
            self.connection.sendall(json.dumps(message).encode() + b'\n')


class Members:
    """Those who are connected.

    :meth:`ask` is for workers' threads; all else for the one that polls.

    :raises OSError: there can be no socket.
    """

    def __init__(self, folder: str, known: tracker.Tracker) -> None:
        self._tracker = known
        self._members: dict[int, Member] = {}
        self._lock = threading.Lock()
        self._asked = 0
        self._answers: dict[int, tuple[Member, threading.Event, list[str]]] = {}
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o755)
        self._path = os.path.join(folder, NAME)
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            self._listener.bind(self._path)
            os.chmod(self._path, 0o666)
            self._listener.listen(16)
        except OSError:
            self._listener.close()
            raise

    def close(self) -> None:
        """Let all go."""
        for member in list(self._members.values()):
            self._drop(member)
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def register(self, poll: select.poll) -> None:
        """Have all of it polled."""
        poll.register(self._listener, select.POLLIN)
        for fd in self._members:
            poll.register(fd, select.POLLIN)

    def take(self, fd: int) -> None:
        """Take what has come on a descriptor, if it is one of these."""
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._members:
            self._read(self._members[fd])

    def ask(self, session: str, message: dict[str, Any]) -> None:
        """Have something done in a session.

        :raises guestagent.errors.GuestError: there is no agent, or it could not.
        """
        members = [
            one for one in list(self._members.values()) if one.session == session
        ]
        if not members:
            raise errors.GuestError(
                f'session {session} has no agent of its own (guestagent-session)'
            )
        # The one that came last, where a desktop was started anew in its session.
        member, answered, said = members[-1], threading.Event(), list[str]()
        with self._lock:
            self._asked += 1
            number = self._asked
            self._answers[number] = (member, answered, said)
        try:
            member.send({'id': number, **message})
            if not answered.wait(SECONDS):
                raise errors.GuestError(f'session {session} does not answer')
        except OSError as error:
            raise errors.GuestError(f'session {session}: {error.strerror}') from None
        finally:
            with self._lock:
                del self._answers[number]
        if said[0]:
            raise errors.GuestError(f'session {session}: {said[0]}')

    def _accept(self) -> None:
        try:
            connection, _address = self._listener.accept()
        except OSError:
            return  # it has gone again
        # What it does not read must not hold anybody up.
        connection.settimeout(1.0)
        member = Member(connection)
        same = [one for one in self._members.values() if one.uid == member.uid]
        if len(same) >= OF_USER_MAX or len(self._members) >= ALL_MAX:
            LOG.warning('user %d has too many agents of sessions', member.uid)
            connection.close()
            return
        self._members[connection.fileno()] = member

    def _read(self, member: Member) -> None:
        try:
            data = member.connection.recv(LINE_MAX)
        except OSError:
            data = b''
        member.data += data
        *lines, rest = member.data.split(b'\n')
        member.data = rest
        try:
            if not data or len(rest) > LINE_MAX:
                raise ValueError('the end')
            for line in lines:
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise ValueError('a line is no object')
                self._obey(member, message)
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
            if data:
                LOG.warning('the agent of session %r: %s', member.session, error)
            self._drop(member)

    def _drop(self, member: Member) -> None:
        del self._members[member.connection.fileno()]
        member.connection.close()
        with self._lock:
            for asked, answered, said in self._answers.values():
                if asked is member:
                    said.append('its agent has ended')
                    answered.set()

    def _obey(self, member: Member, message: dict[str, Any]) -> None:
        """Take a line; what it raises ends the connection."""
        if not member.session:
            member.session = self._admit(member, message)
            member.send({'welcome': VERSION, 'session': member.session})
        elif 'locked' in message:
            # The active session's only: whose screen one sees.
            session = self._tracker.get(member.session)
            if session is not None and session.active:
                self._tracker.lock(member.session, message['locked'] is True)
        elif 'id' in message:
            with self._lock:
                waiting = self._answers.get(message['id'])
                # None: it came too late.
                if waiting is not None and waiting[0] is member:
                    _member, answered, said = waiting
                    said.append(str(message.get('error', ''))[:200])
                    answered.set()

    def _admit(self, member: Member, message: dict[str, Any]) -> str:
        """Return the session that a program is of, by the kernel's word and logind's.

        :raises ValueError: it is of none.
        """
        if message.get('hello') != VERSION:
            raise ValueError('another version of the protocol')
        name = _of_scope(member.pid)
        if name is None:
            # A service of the user's is in no session.
            name = self._desktop_of(member.uid, message.get('session'))
        session = self._tracker.get(name) if name is not None else None
        if session is None or session.uid != member.uid:
            raise ValueError(
                f'process {member.pid} is of no session of user {member.uid}'
            )
        return session.id

    def _desktop_of(self, uid: int, named: Any) -> str | None:
        """Return a user's session with a screen; the one that is named, if it has."""
        found = [
            session
            for session in self._tracker.sessions()
            if session.uid == uid and session.kind in logind.GRAPHICAL
        ]
        found.sort(key=lambda session: (session.id != named, not session.active))
        return found[0].id if found else None


def _of_scope(pid: int) -> str | None:
    """Return the session that systemd has put a process into."""
    try:
        with open(f'/proc/{pid}/cgroup', encoding='utf-8') as file:
            found = _SCOPE.search(file.read())
    except OSError:
        return None
    return found[1] if found else None


def choose(known: tracker.Tracker, session: str | None) -> str:
    """Return the id of a session, or of the active one of ``seat0``.

    :raises guestagent.errors.InvalidArgument: there is none of this id.
    :raises guestagent.errors.GuestError: nobody is logged in, or it is not active.
    """
    if session is None:
        found = known.active(logind.SEAT)
        if found is None:
            raise errors.GuestError(f'nobody is logged in at {logind.SEAT}')
        return found.id
    found = known.get(session)
    if found is None:
        raise errors.InvalidArgument(f'session: there is none with the id {session!r}')
    if not found.active:
        raise errors.GuestError(f'session {session} is not active')
    return found.id
