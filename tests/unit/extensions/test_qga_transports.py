# SPDX-License-Identifier: Apache-2.0
"""The devices of the qga channel: hosts that come and go, and what fails."""

import os
import pathlib
import pty
import socket
import tty
from collections.abc import Callable, Iterator

import pytest
from guestagent_qga import guest, state, worker
from guestagent_qga.transports import connection, device, listener

from devstack import processes
from guestagent import loop as loops

PING = b'{"execute":"guest-ping"}\n'


class NoNative:
    """No extension is there."""

    def call(self, *_: object) -> None:
        raise AssertionError

    def serves(self, _: str, /) -> bool:
        return False


@pytest.fixture
def loop() -> Iterator[loops.Loop]:
    made = loops.Loop()
    yield made
    made.close()


@pytest.fixture
def shared(tmp_path: pathlib.Path) -> guest.Guest:
    kept = state.State(str(tmp_path))
    return guest.Guest(NoNative(), guest.Settings('10.2.2'), kept)


def _turn(loop: loops.Loop, condition: Callable[[], object]) -> None:
    def turned() -> object:
        loop.run_once(0.05)
        return condition()

    processes.wait_for(turned, 'what the loop does', spacing=0)


def _readable(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 1000)
    except BlockingIOError:
        return b''


class Port:
    """A port of virtio-serial: a terminal on which the end of what is read is faked.

    :ivar attached: whether the host is there.
    :ivar reads: how often the agent has looked.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host, guest_end = pty.openpty()
        tty.setraw(guest_end)
        self.path = os.ttyname(guest_end)
        self._guest_end = guest_end
        self.attached = True
        self.reads = 0
        read = os.read

        def faked(descriptor: int, size: int) -> bytes:
            if os.path.exists(self.path) and os.path.sameopenfile(
                descriptor, self._guest_end
            ):
                self.reads += 1
                if not self.attached:
                    return b''
            return read(descriptor, size)

        monkeypatch.setattr(connection.os, 'read', faked)

    def close(self) -> None:
        os.close(self.host)
        os.close(self._guest_end)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    made = Port(monkeypatch)
    yield made
    made.close()


def _fail(error: OSError) -> None:
    raise error


def test_a_port_without_a_host_costs_little(
    loop: loops.Loop, shared: guest.Guest, port: Port, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(device, 'GONE_SECONDS_MAX', 0.5)
    made = device.Device(loop, port.path, shared, worker.Workers(), failed=_fail)
    made.start()
    port.attached = False
    # It is there to be read, again and again.
    os.write(port.host, b'{"execute":"guest-')
    _turn(loop, lambda: port.reads >= 3)
    assert port.reads == 3
    for _ in range(5):
        loop.run_once(0)
    assert port.reads == 3

    port.attached = True
    _turn(loop, lambda: port.reads > 3)
    os.write(port.host, b'\xff\n' + PING)

    said = b''

    def answered() -> bool:
        nonlocal said
        said += _readable(port.host)
        return b'{"return": {}}' in said

    _turn(loop, answered)
    made.stop()


def test_a_new_host_gets_no_answer_of_the_one_before(
    loop: loops.Loop, shared: guest.Guest, port: Port
):
    made = device.Device(loop, port.path, shared, worker.Workers(), failed=_fail)
    made.start()
    os.write(port.host, b'{"execute":"guest-sync","arguments":{"id":1')
    _turn(loop, lambda: port.reads == 1)
    port.attached = False
    os.write(port.host, b'}')
    _turn(loop, lambda: port.reads == 2)
    port.attached = True

    # What came was read by nobody, and half of the request is forgotten.
    _turn(loop, lambda: port.reads == 3)
    os.write(port.host, b'\n' + PING)

    said = b''

    def answered() -> bool:
        nonlocal said
        said += _readable(port.host)
        return b'{"return": {}}' in said

    _turn(loop, answered)
    assert b'{"return": 1}' not in said
    made.stop()


def test_a_device_that_comes_later(
    loop: loops.Loop,
    shared: guest.Guest,
    port: Port,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(device, 'RETRY_SECONDS', 0.05)
    link = tmp_path / 'port'
    made = device.Device(
        loop, str(link), shared, worker.Workers(), retry=True, failed=_fail
    )
    made.start()
    assert made.problem == f'{link}: No such file or directory'

    link.symlink_to(port.path)
    _turn(loop, lambda: not made.problem)
    os.write(port.host, PING)

    _turn(loop, lambda: _readable(port.host) == b'{"return": {}}\n')
    made.stop()


def test_a_device_that_is_not_there(loop: loops.Loop, shared: guest.Guest):
    made = device.Device(loop, '/nonexistent', shared, worker.Workers(), failed=_fail)

    with pytest.raises(FileNotFoundError):
        made.start()


@pytest.mark.parametrize('address', ['', '1', 'a:b', ':', '1:'])
def test_what_is_no_vsock_address(address: str):
    with pytest.raises(ValueError, match='error parsing address'):
        listener.listen_vsock(address)


def test_nobody_else_may_connect_to_a_unix_socket(tmp_path: pathlib.Path):
    path = tmp_path / 'socket'
    before = os.umask(0)
    try:
        listener.listen_unix(str(path)).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


class Vsock:
    """A vsock socket to which one client has connected, from this address."""

    family = socket.AF_VSOCK

    def __init__(self, number: int) -> None:
        self.client, self._accepted = socket.socketpair()
        self._address = number, 1234
        self._ready = os.eventfd(1)

    def setblocking(self, _blocking: bool) -> None:
        pass

    def fileno(self) -> int:
        return self._ready

    def accept(self) -> tuple[socket.socket, tuple[int, int]]:
        os.eventfd_read(self._ready)
        return self._accepted, self._address

    def close(self) -> None:
        os.close(self._ready)


@pytest.mark.parametrize(
    ('number', 'said'),
    # The host; the guest itself, as 1 and as its own number: another guest.
    [(2, b'{"return": {}}\n'), (1, b''), (3, b'')],
)
def test_only_the_host_is_heard_by_vsock(
    loop: loops.Loop, shared: guest.Guest, number: int, said: bytes
):
    sock = Vsock(number)
    made = listener.Listener(loop, sock, shared, worker.Workers())  # type: ignore[arg-type]
    sock.client.sendall(PING)
    made.start()

    _turn(loop, lambda: _has_something(sock.client))
    try:
        assert sock.client.recv(1000) == said
    except ConnectionResetError:
        assert not said
    made.stop()
    sock.client.close()


def _has_something(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True


def test_what_systemd_may_not_pass_on():
    environ = {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '2'}
    with pytest.raises(ValueError, match='2 sockets'):
        listener.passed_socket(environ)
    assert environ == {}
    # It was meant for another.
    assert listener.passed_socket({'LISTEN_PID': '1', 'LISTEN_FDS': '1'}) is None
