# SPDX-License-Identifier: Apache-2.0
"""What systemd is told, at the other end of its socket."""

import os
import socket

import pytest

from guestagent import systemd


class Manager:
    """systemd's end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind('\0' + address[1:] if address[0] == '@' else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=['path', 'abstract'])
def address(request, tmp_path):
    if request.param == 'path':
        return str(tmp_path / 'notify')
    return f'@guestagent-test-{os.getpid()}-{id(request)}'


def test_the_states_of_a_life(address):
    manager = Manager(address)
    notifier = systemd.Notifier({'NOTIFY_SOCKET': address})

    notifier.ready()
    notifier.reloading()
    notifier.alive()
    notifier.stopping()

    heard = manager.heard()
    assert [state.split('\n')[0] for state in heard] == [
        'READY=1',
        'RELOADING=1',
        'WATCHDOG=1',
        'STOPPING=1',
    ]
    assert heard[1].split('\n')[1].startswith('MONOTONIC_USEC=')
    assert int(heard[1].rpartition('=')[2]) > 0


def test_a_status_is_one_line_and_sent_when_it_changes(address):
    manager = Manager(address)
    notifier = systemd.Notifier({'NOTIFY_SOCKET': address})

    for text in ('all\nwell', 'all well', 'lost'):
        notifier.status(text)

    assert manager.heard() == ['STATUS=all well', 'STATUS=lost']


def test_the_variables_are_not_handed_on():
    environ = {
        'NOTIFY_SOCKET': '@nobody',
        'WATCHDOG_USEC': '3000000',
        'WATCHDOG_PID': str(os.getpid()),
        'PATH': '/bin',
    }

    notifier = systemd.Notifier(environ)

    assert environ == {'PATH': '/bin'}
    assert notifier.watchdog == 3.0


@pytest.mark.parametrize(
    'variables',
    [
        {'WATCHDOG_USEC': '3000000', 'WATCHDOG_PID': '1'},
        {'WATCHDOG_USEC': 'soon'},
        {'WATCHDOG_USEC': '0'},
        {},
    ],
)
def test_a_watchdog_that_is_not_meant_for_this_process(variables):
    assert systemd.Notifier(dict(variables)).watchdog is None


@pytest.mark.parametrize('where', ['', 'vsock:2:1', '/nonexistent/notify', '@nobody'])
def test_without_a_listener_nothing_fails(where):
    notifier = systemd.Notifier({'NOTIFY_SOCKET': where})

    notifier.ready()
    notifier.status('fine')

    assert notifier.enabled == (where[:1] in ('/', '@') and bool(where))


def test_a_manager_that_does_not_read_holds_nobody_up(address):
    manager = Manager(address)
    notifier = systemd.Notifier({'NOTIFY_SOCKET': address})

    for _ in range(5000):
        notifier.alive()

    assert set(manager.heard()) == {'WATCHDOG=1'}
