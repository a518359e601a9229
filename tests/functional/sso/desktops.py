# SPDX-License-Identifier: Apache-2.0
"""systemd's own logind on a bus of its own, with sessions that a test makes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_sso import bus, logind, wire

from devstack import processes

LOGIND = pathlib.Path('/lib/systemd/systemd-logind')
NEEDED = pytest.mark.skipif(
    os.geteuid() != 0
    or not LOGIND.exists()
    or None in map(shutil.which, ('unshare', 'dbus-daemon')),
    reason='needs root, systemd-logind and dbus-daemon',
)

#: What the system's own bus allows, with what this project adds to it.
BUS = """<busconfig><type>system</type><listen>unix:path={socket}</listen>
<auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><deny own="*"/>
<deny send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/>
<allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/>
<allow receive_type="error"/><allow receive_type="signal"/>
<allow send_destination="org.freedesktop.DBus"/></policy>
<includedir>/usr/share/dbus-1/system.d</includedir>
<include>{policy}</include></busconfig>
"""
POLICY = (
    pathlib.Path(__file__).parents[3]
    / 'extensions/sso/system/dbus-1/org.ovirt.vdsm.Credentials.conf'
)

#: Starts logind where it can meet no other, for /run is empty there, and where it finds
#: no virtual terminals: it would switch those of this machine.
SERVER = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system &&
mount -t tmpfs tmpfs /sys/class/tty && exec "$0"
"""

SYSTEMD = 'org.freedesktop.systemd1'
_SYSTEMD_PATH = '/org/freedesktop/systemd1'


class Connection(bus.Connection):
    """One that takes descriptors, too, and keeps them until it is closed."""

    def __init__(self, address: str) -> None:
        self.descriptors: list[int] = []
        super().__init__(address)

    def close(self) -> None:
        super().close()
        while self.descriptors:
            os.close(self.descriptors.pop())

    def _authenticate(self) -> None:
        identity = str(os.geteuid()).encode().hex()
        self._socket.sendall(f'\0AUTH EXTERNAL {identity}\r\n'.encode())
        assert self._socket.recv(512).startswith(b'OK ')
        self._socket.sendall(b'NEGOTIATE_UNIX_FD\r\n')
        assert self._socket.recv(512) == b'AGREE_UNIX_FD\r\n'
        self._socket.sendall(b'BEGIN\r\n')

    def _read(self, seconds: float) -> bool:
        self._socket.settimeout(max(seconds, 0.001))
        try:
            data, found, _flags, _address = socket.recv_fds(self._socket, 65536, 16)
        except TimeoutError:
            return False
        if not data:
            raise bus.BusError('closed')
        self.descriptors += found
        self._data += data
        return True


class Standin:
    """Has a name on a bus, and takes the calls that are made of it, on a thread."""

    def __init__(self, connection: bus.Connection, name: str) -> None:
        self._bus = connection
        self._bus.own(name)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._bus.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            message = self._bus.receive(0.05)
            if message is not None and message.kind == wire.CALL:
                self.take(message)

    def take(self, message: wire.Message) -> None:
        raise NotImplementedError


class Systemd(Standin):
    """Stands in for systemd, of which logind wants units: each job ends at once."""

    def __init__(self, address: str) -> None:
        self._jobs = 0
        self._gone: set[str] = set()
        super().__init__(Connection(address), SYSTEMD)

    def take(self, message: wire.Message) -> None:
        if message.member in ('StartTransientUnit', 'StartUnit', 'StopUnit'):
            self._run(message)
        elif message.member == 'Abandon':
            self._reply(message)
            self._forget(_unit(message.path))
        elif message.member == 'Get':
            gone = _unit(message.path) in self._gone
            state = wire.Variant('s', 'inactive' if gone else 'active')
            self._reply(message, 'v', state)
        else:
            self._refuse(message)

    def _run(self, message: wire.Message) -> None:
        self._jobs += 1
        self._gone.discard(message.body[0])
        job = f'{_SYSTEMD_PATH}/job/{self._jobs}'
        self._reply(message, 'o', job)
        self._signal('JobRemoved', 'uoss', self._jobs, job, message.body[0], 'done')
        if message.member == 'StopUnit':
            self._forget(message.body[0])

    def _forget(self, unit: str) -> None:
        self._gone.add(unit)
        self._signal('UnitRemoved', 'so', unit, f'{_SYSTEMD_PATH}/unit')

    def _refuse(self, message: wire.Message) -> None:
        answer = wire.Message(wire.ERROR, destination=message.sender)
        error = 'org.freedesktop.DBus.Error.UnknownMethod'
        self._bus.send(answer._replace(reply_to=message.serial, error=error))

    def _reply(self, message: wire.Message, signature: str = '', *body: Any) -> None:
        answer = wire.Message(wire.RETURN, destination=message.sender)
        self._bus.send(
            answer._replace(reply_to=message.serial, signature=signature, body=body)
        )

    def _signal(self, member: str, signature: str, *body: Any) -> None:
        self._bus.send(
            wire.Message(
                *(wire.SIGNAL, _SYSTEMD_PATH, f'{SYSTEMD}.Manager', member),
                *('', signature, body),
            )
        )


def _unit(path: str) -> str:
    """Return the name of the unit that has this path on the bus."""
    escaped = path.rpartition('/')[2]
    return re.sub('_([0-9a-f]{2})', lambda found: chr(int(found[1], 16)), escaped)


class Session:
    """A session that lasts until it is ended."""

    def __init__(self, address: str, uid: int, use: str, kind: str, seat: str) -> None:
        self.uid = uid
        self._leader = subprocess.Popen(['sleep', 'infinity'])
        self._bus = Connection(address)
        self.id, self.path, *_ = logind.ask(
            self._bus,
            'CreateSession',
            'uusssssussbssa(sv)',
            *(uid, self._leader.pid, 'test', kind, use, '', seat, 0),
            *('', ':0' if kind == 'x11' else '', False, '', '', []),
        )

    def activate(self) -> None:
        """Have the seat."""
        logind.ask(self._bus, 'ActivateSession', 's', self.id)

    def hint(self, locked: bool) -> None:
        """Say as the session's desktop does whether the screen is locked."""
        self._bus.call(
            *(logind.NAME, self.path, logind.SESSION, 'SetLockedHint', 'b', locked)
        )

    def end(self) -> None:
        """Leave, as the login program does."""
        self._leader.kill()
        self._leader.wait()
        self._bus.close()


class Desktop:
    """A machine with a seat.

    :ivar address: of its bus.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.sessions: list[Session] = []

    def open(
        self, uid: int, use: str = 'user', kind: str = 'x11', seat: str = logind.SEAT
    ) -> Session:
        """Make a session, which has its seat from now on."""
        made = Session(self.address, uid, use, kind, seat)
        self.sessions.append(made)
        if seat:
            made.activate()
        return made

    def clear(self) -> None:
        """End all sessions, and wait until logind has forgotten them."""
        while self.sessions:
            self.sessions.pop().end()
        with contextlib.closing(bus.Connection(self.address)) as connection:
            for session in logind.list_sessions(connection):
                with contextlib.suppress(bus.CallError):
                    logind.ask(connection, 'TerminateSession', 's', session.id)
            processes.wait_for(
                lambda: not logind.list_sessions(connection), 'the sessions end'
            )


@contextlib.contextmanager
def running() -> Iterator[Desktop]:
    """Give a machine with a seat and nobody logged in."""
    # Not a test's own folder: other users than root must reach the bus.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        with _running_in(folder) as desktop:
            yield desktop


@contextlib.contextmanager
def _running_in(folder: pathlib.Path) -> Iterator[Desktop]:
    path, config = folder / 'bus', folder / 'bus.conf'
    config.write_text(BUS.format(socket=path, policy=POLICY))
    address = f'unix:path={path}'
    started = []
    environment = {**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS': address}
    try:
        command = ['dbus-daemon', f'--config-file={config}', '--nofork']
        started.append(subprocess.Popen(command))
        processes.wait_for(path.exists, 'the bus is there')
        systemd = Systemd(address)
        try:
            command = ['unshare', '--mount', 'sh', '-c', SERVER, str(LOGIND)]
            started.append(subprocess.Popen(command, env=environment))
            with contextlib.closing(bus.Connection(address)) as connection:

                def answers() -> bool:
                    (found,) = connection.ask_driver('NameHasOwner', 's', logind.NAME)
                    return bool(found)

                processes.wait_for(answers, 'logind is there')
            desktop = Desktop(address)
            try:
                yield desktop
            finally:
                for session in desktop.sessions:
                    session.end()
        finally:
            systemd.close()
    finally:
        for one in reversed(started):
            one.terminate()
            one.wait()
