# SPDX-License-Identifier: Apache-2.0
"""Single sign-on with systemd's logind, a real PAM stack and a greeter's stand-in."""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from guestagent_sso import bus, extension, handover, logind

from devstack import processes
from guestagent import errors, testing
from tests.functional.sso import desktops, pam

pytestmark = [pytest.mark.functional, desktops.NEEDED]

PASSWORD = 'hunter2 of daemon'
#: Users of every system.
DAEMON, BIN = 1, 2

#: Listens as a greeter of GNOME's does, for the signal of whoever has the name.
GREETER = """
import os, sys
from guestagent_sso import bus, wire
os.setuid(int(sys.argv[2]))
connection = bus.Connection(sys.argv[1])
connection.ask_driver('AddMatch', 's', "type='signal',"
    "sender='org.ovirt.vdsm.Credentials',interface='org.ovirt.vdsm.Credentials'")
print('ready', flush=True)
for message in iter(lambda: connection.receive(60), None):
    if message.member == 'UserAuthenticated':
        print(message.path, message.interface, *message.body, flush=True)
"""


@pytest.fixture
def connection(seat: desktops.Desktop) -> Iterator[bus.Connection]:
    with contextlib.closing(bus.Connection(seat.address)) as made:
        yield made


@pytest.fixture
def sso(seat: desktops.Desktop, tmp_path: pathlib.Path) -> Iterator[extension.Sso]:
    options = {'folder': str(tmp_path / 'sso'), 'hold': 30}
    with testing.started(extension.Sso, options=options) as made:
        yield made


@pytest.fixture
def greeter(seat: desktops.Desktop) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """``greeter(uid)``: a program of a user, which prints what it is told."""
    made: list[subprocess.Popen[str]] = []
    source = pathlib.Path(extension.__file__).parents[1]

    def start(uid: int) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, '-S', '-c', GREETER, seat.address, str(uid)],
            env={'PYTHONPATH': str(source)},
            cwd='/',
            stdout=subprocess.PIPE,
            text=True,
        )
        made.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == 'ready\n'
        return child

    yield start
    for child in made:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


class Login:
    """``sso.login`` on a thread of its own."""

    def __init__(self, sso: extension.Sso, **arguments: Any) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(sso, arguments))
        self._thread.start()

    def _run(self, sso: extension.Sso, arguments: dict[str, Any]) -> None:
        try:
            self.result = testing.call(sso, 'login', **arguments)
        except errors.GuestAgentError as error:
            self.error = error

    def end(self) -> Any:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.result


def read_token(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    path, interface, token = child.stdout.readline().split()
    assert (path, interface) == (
        '/org/ovirt/vdsm/Credentials',
        'org.ovirt.vdsm.Credentials',
    )
    return token


@pytest.mark.skipif(
    not pathlib.Path('/usr/include/security/pam_modules.h').exists()
    or None in map(shutil.which, ('make', 'cc')),
    reason='needs make, a C compiler and the headers of PAM',
)
def test_a_login_goes_through_the_greeter_and_pam(
    seat: desktops.Desktop,
    sso: extension.Sso,
    greeter: Callable[[int], subprocess.Popen[str]],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level('DEBUG')
    module = pam.build(tmp_path / 'build')
    seat.open(BIN, use='greeter')
    listening, other = greeter(BIN), greeter(DAEMON)
    login = Login(sso, user='daemon@example.org', password=PASSWORD)
    token = read_token(listening)
    words = (module, f'socket={tmp_path}/sso/{handover.NAME}', token)
    found = pam.authenticate(tmp_path / 'stack', *words)
    assert found.code == pam.SUCCESS
    assert found.given == ('daemon', pam.digest(PASSWORD))
    assert login.end() == {'user': 'daemon@example.org', 'seat': 'seat0', 'told': 1}
    # A second use, and another token next time.
    again = pam.authenticate(tmp_path / 'again', *words)
    assert (again.code, again.given) == (pam.CRED_UNAVAIL, None)
    second = Login(sso, user='daemon', password=PASSWORD)
    other_token = read_token(listening)
    assert other_token != token
    late = pam.authenticate(tmp_path / 'late', *words)
    assert late.code == pam.CRED_UNAVAIL
    right = pam.authenticate(tmp_path / 'right', *words[:2], other_token)
    assert right.code == pam.SUCCESS
    assert second.end() is not None
    # Nobody but the greeter was told, nor does the log know.
    other.kill()
    assert other.stdout is not None
    assert other.stdout.read() == ''
    assert token not in caplog.text
    assert PASSWORD not in caplog.text


OWN = """
import os, sys
from guestagent_sso import bus
os.setuid(1)
try:
    bus.Connection(sys.argv[1]).own('org.ovirt.vdsm.Credentials')
except bus.CallError as error:
    print(error.name)
"""


def test_only_root_says_that_there_are_credentials(seat: desktops.Desktop) -> None:
    done = subprocess.run(
        [sys.executable, '-S', '-c', OWN, seat.address],
        env={'PYTHONPATH': str(pathlib.Path(extension.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == 'org.freedesktop.DBus.Error.AccessDenied\n'


def test_nobody_takes_it_in_time(
    seat: desktops.Desktop, tmp_path: pathlib.Path
) -> None:
    seat.open(BIN, use='greeter')
    options = {'folder': str(tmp_path / 'sso'), 'hold': 0.2}
    with (
        testing.started(extension.Sso, options=options) as made,
        pytest.raises(errors.GuestError, match=r'within 0\.2 s; 0 programs'),
    ):
        testing.call(made, 'login', user='daemon', password=PASSWORD)
    assert not [*(tmp_path / 'sso').iterdir()]


def test_who_has_the_seat_decides(
    seat: desktops.Desktop,
    sso: extension.Sso,
    greeter: Callable[[int], subprocess.Popen[str]],
) -> None:
    def login(user: str, where: str = 'seat0') -> None:
        testing.call(sso, 'login', user=user, password=PASSWORD, seat=where)

    with pytest.raises(errors.GuestError, match='neither a greeter nor a session'):
        login('daemon')
    seat.open(DAEMON)
    with pytest.raises(errors.GuestError, match='seat0 is in use by another user'):
        login('bin')
    with pytest.raises(errors.GuestError, match='seat1 has neither'):
        login('daemon', 'seat1')
    with pytest.raises(errors.InvalidArgument, match='no name of a seat'):
        login('daemon', '../seat0')
    # The screen of the same user is unlocked so; one login at a time.
    listening = greeter(DAEMON)
    waiting = Login(sso, user='daemon@example.org', password=PASSWORD)
    token = read_token(listening)
    with pytest.raises(errors.Transient, match='another login'):
        login('daemon')
    path = pathlib.Path(sso.conf.folder) / handover.NAME
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    _take(path, token)
    assert waiting.end()['told'] == 1


def _take(path: pathlib.Path, token: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(path))
        client.send(f'1\0{token}\0seat0\0daemon\0'.encode())
        assert client.recv(2000).startswith(b'1\0daemon@example.org\0')


class Sessions(NamedTuple):
    """Three sessions: two have the seat in turn, and one has none."""

    waiting: desktops.Session
    active: desktops.Session
    remote: desktops.Session


@pytest.fixture
def sessions(seat: desktops.Desktop) -> Sessions:
    return Sessions(
        seat.open(BIN), seat.open(DAEMON), seat.open(DAEMON, kind='tty', seat='')
    )


def test_sessions_are_listed(sso: extension.Sso, sessions: Sessions) -> None:
    listed = {one['id']: one for one in testing.call(sso, 'sessions')}
    assert listed[sessions.active.id] == {
        'id': sessions.active.id,
        'user': 'daemon',
        'uid': DAEMON,
        'seat': 'seat0',
        'type': 'x11',
        'state': 'active',
        'active': True,
        'locked': False,
        'service': 'test',
    }
    assert listed[sessions.waiting.id]['state'] == 'online'
    assert listed[sessions.remote.id]['seat'] is None
    sessions.active.hint(locked=True)
    locked = [one['id'] for one in testing.call(sso, 'sessions') if one['locked']]
    assert locked == [sessions.active.id]


def test_where_nobody_is_logged_in(seat: desktops.Desktop, sso: extension.Sso) -> None:
    assert testing.call(sso, 'sessions') == []
    with pytest.raises(errors.GuestError, match='nobody is logged in at seat0'):
        testing.call(sso, 'lock')


def test_sessions_are_locked(
    sso: extension.Sso, sessions: Sessions, connection: bus.Connection
) -> None:
    waiting, active, remote = sessions
    rule = "type='signal',interface='org.freedesktop.login1.Session'"
    connection.ask_driver('AddMatch', 's', rule)
    messages = iter(lambda: connection.receive(30), None)
    heard = (
        (message.member, message.path)
        for message in messages
        if message.interface == logind.SESSION
    )
    for method, arguments, member, asked in (
        ('lock', {}, 'Lock', [active]),
        ('lock', {'session': waiting.id}, 'Lock', [waiting]),
        ('lock', {'all': True}, 'Lock', [waiting, active, remote]),
        ('unlock', {}, 'Unlock', [active]),
        ('unlock', {'session': remote.id}, 'Unlock', [remote]),
    ):
        done = testing.call(sso, method, **arguments)
        assert done == {'sessions': [one.id for one in asked]}
        for session in asked:
            assert next(heard) == (member, session.path)

    for arguments in ({'session': 'none'}, {'session': waiting.id, 'all': True}):
        with pytest.raises(errors.InvalidArgument, match='session'):
            testing.call(sso, 'lock', **arguments)


def test_sessions_are_ended(sso: extension.Sso, sessions: Sessions) -> None:
    waiting, active, remote = sessions

    def log_off(**arguments: Any) -> Any:
        return testing.call(sso, 'log_off', **arguments)

    def left() -> set[str]:
        found = testing.call(sso, 'sessions')
        return {one['id'] for one in found if one['state'] != 'closing'}

    with pytest.raises(errors.InvalidArgument, match='not both'):
        log_off(session=waiting.id, user='bin')
    with pytest.raises(errors.GuestError, match="'nobody' is not logged in"):
        log_off(user='nobody')
    assert log_off() == {'sessions': [active.id]}
    processes.wait_for(lambda: left() == {waiting.id, remote.id}, 'it ends')
    assert log_off(user='daemon') == {'sessions': [remote.id]}
    processes.wait_for(lambda: left() == {waiting.id}, 'it ends')
    assert log_off(session=waiting.id) == {'sessions': [waiting.id]}
    processes.wait_for(lambda: not left(), 'it ends')


def test_without_a_bus_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('DBUS_SYSTEM_BUS_ADDRESS', 'unix:path=/nonexistent')
    with pytest.raises(errors.GuestError, match='/nonexistent: No such file'):
        testing.call(extension.Sso, 'sessions')
