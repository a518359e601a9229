# SPDX-License-Identifier: Apache-2.0
"""Containers, as a server on a unix socket answers in Docker's and Podman's place."""

import contextlib
import json
import pathlib
import socket
import threading

import pytest
from guestagent_monitoring.collectors import containers

TOLD = [
    {
        'Id': 'ffaa',
        'Names': ['/web', '/other/web'],
        'Image': 'nginx:1.25',
        'Command': 'nginx --password hunter2',
        'Created': 1700000000,
        'State': 'running',
        'Status': 'Up 5 minutes',
        'Ports': [],
    },
    {'Id': '00bb', 'Names': None, 'Image': 'busybox', 'State': 'exited'},
]

WANTED = [
    {
        'id': '00bb',
        'names': [],
        'image': 'busybox',
        'program': '',
        'state': 'exited',
        'created': None,
    },
    {
        'id': 'ffaa',
        'names': ['web', 'other/web'],
        'image': 'nginx:1.25',
        'program': 'nginx',
        'state': 'running',
        'created': 1700000000,
    },
]


def answer(value, status='200 OK', *headers):
    head = [f'HTTP/1.0 {status}', 'Content-Type: application/json', *headers]
    body = value if isinstance(value, str) else json.dumps(value)
    return ('\r\n'.join(head) + '\r\n\r\n' + body).encode()


@pytest.fixture
def engine(tmp_path):
    """``engine(path, answer)``: listens there and answers so, in two pieces."""
    servers, threads = [], []
    asked = []
    over = threading.Event()

    def serve(server, said, hangs):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            # One that has waited long enough has gone.
            with connection, contextlib.suppress(BrokenPipeError):
                asked.append(connection.recv(65536))
                connection.sendall(said[:20])
                if hangs:
                    over.wait(60)
                connection.sendall(said[20:])

    def start(path, said, hangs=False):
        file = tmp_path / path.lstrip('/')
        file.parent.mkdir(parents=True, exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(file))
        server.listen()
        servers.append(server)
        thread = threading.Thread(target=serve, args=(server, said, hangs))
        thread.start()
        threads.append(thread)
        return asked

    yield start
    over.set()
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    for thread in threads:
        thread.join()


def test_docker_and_podman_are_asked_alike(engine, tree):
    root = tree({'run/docker.pid': '7', containers._PODMAN_CONTAINERS: '[{"id":"x"}]'})
    asked = engine(containers.DOCKER, answer(TOLD))
    engine(containers.PODMAN, answer(TOLD, '200 OK', 'Libpod-Api-Version: 4.3.1'))

    found = containers.containers(root)

    assert found == [
        {'engine': name, **each} for name in ('docker', 'podman') for each in WANTED
    ]
    assert asked[0].startswith(b'GET /containers/json?all=true HTTP/1.0\r\n')


def test_engines_that_sleep_are_not_woken(engine, tree):
    root = tree({containers._PODMAN_CONTAINERS: '[]'})
    asked = engine(containers.DOCKER, answer(TOLD))
    engine(containers.PODMAN, answer(TOLD))

    assert containers.containers(root) is None
    assert asked == []


def test_a_guest_without_engines_has_no_containers(tree):
    root = pathlib.Path(tree({'run/docker.pid': '7'}))
    # One that has died leaves its socket.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(root / 'run/docker.sock'))

    assert containers.containers(str(root)) is None


def test_an_engine_without_containers_tells_none(engine, tree):
    engine('/run/mine.sock', answer([]))

    assert containers.containers(tree({}), ['/run/mine.sock']) == []


@pytest.mark.parametrize(
    ('said', 'words'),
    [
        (answer({'message': 'no'}, '500 Server Error'), 'says .*500 Server Error'),
        (answer('[{'), 'Expecting'),
        (answer({}), 'tells no list'),
        (b'', 'says'),
        (answer('x' * 3000), 'more than 2000 bytes'),
    ],
)
def test_what_makes_no_sense_is_said(engine, tree, monkeypatch, said, words):
    monkeypatch.setattr(containers, 'SIZE_MAX', 2000)
    engine('/run/mine.sock', said)

    with pytest.raises(ValueError, match=words):
        containers.containers(tree({}), ['/run/mine.sock'])


def test_an_engine_that_hangs_is_left(engine, tree, monkeypatch):
    monkeypatch.setattr(containers, 'SECONDS', 0.2)
    engine('/run/mine.sock', answer(TOLD), hangs=True)

    with pytest.raises(TimeoutError):
        containers.containers(tree({}), ['/run/mine.sock'])
