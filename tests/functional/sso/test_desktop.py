# SPDX-License-Identifier: Apache-2.0
"""Who comes and goes by systemd's own logind, and a real agent of a session."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from guestagent_sso import bus, desktop, logind, members, wire

from devstack import processes, stack
from guestagent import client, errors, testing
from tests.functional.sso import desktops

pytestmark = [pytest.mark.functional, desktops.NEEDED]

#: Users of every system.
ROOT, DAEMON, BIN = 0, 1, 2

SESSION_BUS = """<busconfig><type>session</type><listen>unix:path={socket}</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""
NOTIFICATIONS = 'org.freedesktop.Notifications'


@pytest.fixture
def host() -> testing.Host:
    return testing.Host()


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    # Not the test's own: other users than root must reach the socket.
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def watching(
    seat: desktops.Desktop, host: testing.Host, folder: pathlib.Path
) -> Iterator[Callable[[], desktop.Desktop]]:
    """``watching()``: the extension, once it watches."""
    with contextlib.ExitStack() as stack:

        def start() -> desktop.Desktop:
            made = stack.enter_context(
                testing.started(
                    desktop.Desktop, options={'folder': str(folder)}, host=host
                )
            )
            processes.wait_for(lambda: made._watch._begun, 'it watches')
            assert made.health() == 'ok'
            return made

        yield start


def wait_for_events(host: testing.Host, *expected: tuple[str, str]) -> None:
    def heard() -> list[tuple[str, str]]:
        return [(name, data['session']) for name, data in host.events]

    wanted = [(f'desktop.{name}', session) for name, session in expected]
    with contextlib.suppress(processes.Failed):
        processes.wait_for(lambda: len(heard()) >= len(wanted), 'they are heard')
    assert heard() == wanted


def test_who_comes_and_goes_is_told_as_it_happens(
    seat: desktops.Desktop, host: testing.Host, watching: Callable[[], desktop.Desktop]
) -> None:
    first = seat.open(DAEMON)
    made = watching()
    start = testing.call(made, 'changes')['last']
    seat.open(BIN, use='greeter')
    second = seat.open(BIN)
    text = seat.open(DAEMON, kind='tty', seat='')
    second.hint(locked=True)
    second.hint(locked=False)
    with contextlib.closing(bus.Connection(seat.address)) as connection:
        # Another than logind says something to the agent.
        assert made._watch._bus is not None
        name, path = made._watch._bus.name, logind.PATH
        forged = wire.Message(wire.SIGNAL, path, logind.MANAGER, 'SessionRemoved', name)
        connection.send(forged._replace(signature='so', body=(text.id, path)))
        connection.send(forged)
        connection.ask_driver('GetId')
        for member in ('LockSession', 'UnlockSession'):
            # A desktop that does not say what it does.
            for session in (text, first):
                logind.ask(connection, member, 's', session.id)
        logind.ask(connection, 'TerminateSession', 's', first.id)
    expected = [
        ('logon', second.id),
        ('logon', text.id),
        ('lock', second.id),
        ('unlock', second.id),
        ('lock', first.id),
        ('unlock', first.id),
        ('logoff', first.id),
    ]
    wait_for_events(host, *expected)
    assert host.events[0][1] == {
        'session': second.id,
        'user': 'bin',
        'uid': BIN,
        'seat': 'seat0',
        'type': 'x11',
    }
    found = testing.call(made, 'changes', after=start)
    changes = [(each['event'], each['session']) for each in found['changes']]
    assert changes == expected
    assert found['last'] == start + len(expected)
    assert testing.call(made, 'changes', after=found['last'])['changes'] == []
    assert [each['id'] for each in testing.call(made, 'sessions')] == [
        second.id,
        text.id,
    ]


class Shell(desktops.Standin):
    """Stands in for a desktop's shell, which shows what it is told."""

    def __init__(self, address: str) -> None:
        self.shown: list[tuple[str, str]] = []
        super().__init__(bus.Connection(address), NOTIFICATIONS)

    def take(self, message: wire.Message) -> None:
        answer = wire.Message(wire.RETURN, destination=message.sender)
        answer = answer._replace(reply_to=message.serial)
        if message.member == 'GetCapabilities':
            answer = answer._replace(signature='as', body=(['body-markup'],))
        else:
            title, text = message.body[3:5]
            self.shown.append((title, text))
            answer = answer._replace(signature='u', body=(1,))
            if text == 'no':
                answer = answer._replace(kind=wire.ERROR, error='a.b', body=(7,))
        self._bus.send(answer)


def tell_locked(address: str, locked: bool) -> None:
    """Say on a session's bus, as its locker does, that the screen is locked."""
    with contextlib.closing(bus.Connection(address)) as connection:
        connection.send(
            wire.Message(
                *(wire.SIGNAL, '/org/gnome/ScreenSaver', 'org.gnome.ScreenSaver'),
                *('ActiveChanged', '', 'b', (locked,)),
            )
        )
        connection.ask_driver('GetId')  # it has been taken


@pytest.fixture
def session_bus(tmp_path: pathlib.Path) -> Iterator[str]:
    path, config = tmp_path / 'bus', tmp_path / 'bus.conf'
    config.write_text(SESSION_BUS.format(socket=path))
    child = subprocess.Popen(['dbus-daemon', f'--config-file={config}', '--nofork'])
    try:
        processes.wait_for(path.exists, 'the bus of the session is there')
        yield f'unix:path={path}'
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def agent_of(address: str, folder: pathlib.Path, session: str) -> Iterator[Any]:
    """Run a session's agent."""
    child = subprocess.Popen(
        [sys.executable, '-m', 'guestagent_sso.session', folder / members.NAME],
        env={
            **os.environ,
            'DBUS_SESSION_BUS_ADDRESS': address,
            'XDG_SESSION_ID': session,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_an_agent_of_the_session_acts_in_it(
    seat: desktops.Desktop,
    host: testing.Host,
    watching: Callable[[], desktop.Desktop],
    session_bus: str,
    folder: pathlib.Path,
) -> None:
    mine = seat.open(ROOT)
    made = watching()

    def notify(text: str, **arguments: Any) -> Any:
        return testing.call(made, 'notify', text=text, **arguments)

    with pytest.raises(errors.GuestError, match='has no agent of its own'):
        notify('hello')
    with (
        contextlib.closing(Shell(session_bus)) as shell,
        agent_of(session_bus, folder, mine.id) as child,
    ):
        assert made._members is not None
        known = made._members._members
        processes.wait_for(
            lambda: [one for one in list(known.values()) if one.session == mine.id],
            'the agent is let in',
        )
        assert notify('1 < 2 & 3', title='<T>') == {'session': mine.id}
        assert notify('hello', session=mine.id) == {'session': mine.id}
        assert shell.shown == [('<T>', '1 &lt; 2 &amp; 3'), ('Message', 'hello')]
        with pytest.raises(errors.GuestError, match='shows no notifications: 7'):
            notify('no')
        for arguments in ({'text': 'x' * 4001}, {'text': '', 'title': '\0'}):
            with pytest.raises(errors.InvalidArgument):
                testing.call(made, 'notify', **arguments)
        # The lock of a desktop that tells logind nothing.
        tell_locked(session_bus, True)
        wait_for_events(host, ('lock', mine.id))
        tell_locked(session_bus, False)
        wait_for_events(host, ('lock', mine.id), ('unlock', mine.id))
        # Another has the seat: this one counts no more.
        other = seat.open(BIN)
        processes.wait_for(
            lambda: holder_of_seat(made) == other.id, 'the other is active'
        )
        with pytest.raises(errors.GuestError, match=f'{mine.id} is not active'):
            notify('hello', session=mine.id)
        with pytest.raises(errors.GuestError, match=f'{other.id} has no agent'):
            notify('hello')
        mine.activate()
        processes.wait_for(
            lambda: notify_or_none(notify) == {'session': mine.id}, 'it has it again'
        )
        child.kill()
        child.wait()
        processes.wait_for(lambda: not known, 'it is gone')
        with pytest.raises(errors.GuestError, match='no agent'):
            notify('hello')


def holder_of_seat(made: desktop.Desktop) -> str | None:
    found = made._tracker.active(logind.SEAT)
    return found.id if found else None


def notify_or_none(notify: Callable[[str], Any]) -> Any:
    try:
        return notify('again')
    except errors.GuestError:
        return None


HELLO = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1])
agent.settimeout(60)
try:
    agent.sendall(sys.argv[3].encode())
    agent.shutdown(socket.SHUT_WR)
    while found := agent.recv(1000):
        print(found.decode())
except (BrokenPipeError, ConnectionResetError):
    pass  # it did not want to hear it all
"""


def test_who_is_of_no_session_is_not_let_in(
    seat: desktops.Desktop,
    watching: Callable[[], desktop.Desktop],
    folder: pathlib.Path,
) -> None:
    mine = seat.open(DAEMON)
    made = watching()
    path = folder / members.NAME
    good = f'{{"hello":1,"session":"{mine.id}"}}\n'

    def say(uid: int, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as ours:
            ours.connect(str(path))  # one that says nothing holds nobody up
            done = subprocess.run(
                [sys.executable, '-S', '-c', HELLO, path, str(uid), line],
                stdout=subprocess.PIPE,
                text=True,
                timeout=60,
                check=True,
            )
        return done.stdout.strip()

    assert say(DAEMON, good) == f'{{"welcome": 1, "session": "{mine.id}"}}'
    # Another user, whatever session it names; another version; no JSON; no end.
    assert say(BIN, good) == ''
    assert say(ROOT, good) == ''
    for line in ('{"hello":2}\n', 'x\n', '[]\n', '{"locked":true}\n', 'x' * 70000):
        assert say(DAEMON, line) == ''

    # Only who has the seat says that its screen is locked.
    def locked() -> list[bool]:
        return [each['locked'] for each in testing.call(made, 'sessions')]

    other = seat.open(BIN)
    processes.wait_for(lambda: holder_of_seat(made) == other.id, 'it has the seat')
    say(DAEMON, good + '{"locked":true}\n')
    assert locked() == [False, False]
    mine.activate()
    processes.wait_for(lambda: holder_of_seat(made) == mine.id, 'it has the seat')
    say(DAEMON, good + '{"locked":true}\n')
    assert locked() == [True, False]


def test_without_a_bus_the_health_says_so(
    monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path
) -> None:
    monkeypatch.setenv('DBUS_SYSTEM_BUS_ADDRESS', 'unix:path=/nonexistent')
    options = {'folder': str(folder)}
    with testing.started(desktop.Desktop, options=options) as made:
        health = processes.wait_for(
            lambda: made.health() if made.health() != 'ok' else None, 'it says so'
        )
        assert health.startswith('sessions are not watched: unix:path=/nonexistent')
        assert testing.call(made, 'sessions') == []


def test_an_agent_has_both(
    seat: desktops.Desktop,
    agent: Callable[..., stack.Agent],
    bus_url: str,
    folder: pathlib.Path,
) -> None:
    mine = seat.open(DAEMON)
    options = {
        'sso': {'folder': folder / 'sso', 'hold': 0.2},
        'desktop': {'folder': folder},
    }
    agent('vm-1', options, extensions='sso, desktop')
    with client.Client(url=bus_url, caller='tester') as guests:
        [asked] = guests.call('vm-1', 'sso.sessions', {})
        assert (asked['id'], asked['user']) == (mine.id, 'daemon')
        [watched] = processes.wait_for(
            lambda: guests.call('vm-1', 'desktop.sessions', {}), 'it watches'
        )
        assert watched == asked
        login = {'user': 'daemon', 'password': 'hunter2 of daemon'}
        with pytest.raises(errors.GuestError, match='nobody took the credentials'):
            guests.call('vm-1', 'sso.login', login)
        assert guests.call('vm-1', 'sso.lock', {}) == {'sessions': [mine.id]}

        def locked() -> Any:
            return guests.call('vm-1', 'desktop.sessions', {})[0]['locked']

        processes.wait_for(locked, 'the lock is heard of')

        # In a process of its own it has the system's bus, and no other.
        agent('vm-2', {'sso': {'isolate': True}}, extensions='sso')
        with pytest.raises(errors.InvalidArgument, match='no name of a seat'):
            guests.call('vm-2', 'sso.login', {**login, 'seat': 'none'})
