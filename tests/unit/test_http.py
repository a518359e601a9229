# SPDX-License-Identifier: Apache-2.0
"""The little HTTP server, with polite and impolite peers."""

import http.client
import os
import socket
import threading

import pytest

from devstack import processes
from guestagent import http as pages
from guestagent import loop as loops

BIG = 'x' * 3_000_000


@pytest.fixture
def port():
    number = processes.free_port()
    loop = loops.Loop()
    server = pages.Server(
        loop,
        ('127.0.0.1', number),
        {
            '/metrics': lambda: pages.Answer(200, 'a 1\n', 'text/x'),
            '/big': lambda: pages.Answer(200, BIG),
        },
    )
    server.start()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield number
    loop.call_soon(loop.stop)
    thread.join(30)
    assert not thread.is_alive()
    server.close()
    loop.close()


def connect(port):
    return socket.create_connection(('127.0.0.1', port), timeout=30)


def ask(port, data):
    """Send ``data`` and return all that comes until the end."""
    with connect(port) as peer:
        peer.sendall(data)
        found = b''
        while piece := peer.recv(65536):
            found += piece
        return found


def test_a_page(port):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('GET', '/metrics?x=1')
    answer = connection.getresponse()

    assert answer.status == 200
    assert answer.getheader('Content-Type') == 'text/x'
    assert answer.read() == b'a 1\n'


def test_head_has_no_body(port):
    found = ask(port, b'HEAD /metrics HTTP/1.0\n\n')

    assert found.startswith(b'HTTP/1.1 200 OK\r\n')
    assert b'Content-Length: 4\r\n' in found
    assert found.endswith(b'\r\n\r\n')


def test_a_page_larger_than_the_sockets_buffer(port):
    assert ask(port, b'GET /big HTTP/1.1\r\n\r\n').endswith(BIG.encode())


def test_a_request_that_comes_in_pieces(port):
    with connect(port) as peer:
        for byte in b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n':
            peer.sendall(bytes([byte]))
        assert peer.recv(100).startswith(b'HTTP/1.1 200')


@pytest.mark.parametrize(
    ('request_', 'status'),
    [
        (b'GET /nothing HTTP/1.1\r\n\r\n', b'404'),
        (b'POST /metrics HTTP/1.1\r\n\r\n', b'405'),
        (b'\x16\x03\x01\x00\n\n', b'400'),
        (b'GET /metrics\r\n\r\n', b'400'),
        (b'GET /metrics SSH/2\r\n\r\n', b'400'),
        (b'\n\n', b'400'),
        (b'\xff' * 20000, b'431'),
        (b'GET /metrics HTTP/1.1\r\n' + b'x: y\r\n' * 4000, b'431'),
    ],
)
def test_what_is_no_request_is_answered_with_an_error(port, request_, status):
    assert ask(port, request_).startswith(b'HTTP/1.1 ' + status)


def test_a_peer_that_sends_without_end_is_let_go(port):
    with connect(port) as peer, pytest.raises(OSError, match=r'reset|[Pp]ipe'):
        peer.sendall(b'\xff' * 65_536_000)


def test_too_many_peers_are_let_go_until_others_leave(port):
    silent = [connect(port) for _ in range(pages.CONNECTIONS)]
    # The one too many is closed at once.
    with connect(port) as peer:
        assert peer.recv(1) == b''
    for peer in silent:
        peer.close()

    def served():
        try:
            return ask(port, b'GET /metrics HTTP/1.1\r\n\r\n').startswith(b'HTTP')
        except ConnectionError:
            return False

    processes.wait_for(served, 'it serves again')


def test_a_peer_that_says_nothing_is_closed(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, 'SECONDS', 0.05)
    path = str(tmp_path / 'socket')
    loop = loops.Loop()
    server = pages.Server(loop, path, {})
    server.start()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.setblocking(False)
        deadline = loops.time.monotonic() + 30
        while loops.time.monotonic() < deadline:
            loop.run_once(0.1)
            try:
                assert peer.recv(1) == b''
                break
            except BlockingIOError:
                pass
        else:
            pytest.fail('it is still open')
    server.close()
    loop.close()


def test_a_socket_file_is_removed_and_replaced_but_never_taken(tmp_path):
    path = str(tmp_path / 'socket')
    loop = loops.Loop()
    first = pages.Server(loop, path, {})
    first.start()

    with pytest.raises(OSError, match=r'\[metrics\] listen: .*/socket'):
        pages.Server(loop, path, {}).start()

    first.close()
    assert not os.path.exists(path)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    second = pages.Server(loop, path, {})
    second.start()
    second.close()
    (tmp_path / 'file').write_text('precious')
    with pytest.raises(OSError, match='in use'):
        pages.Server(loop, str(tmp_path / 'file'), {}).start()
    assert (tmp_path / 'file').read_text() == 'precious'
    loop.close()


def test_a_port_in_use_is_named(port):
    loop = loops.Loop()
    with pytest.raises(OSError, match=rf'listen: 127.0.0.1:{port}: Address'):
        pages.Server(loop, ('127.0.0.1', port), {}).start()
    loop.close()
