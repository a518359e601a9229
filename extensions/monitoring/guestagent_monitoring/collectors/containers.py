# SPDX-License-Identifier: Apache-2.0
"""The containers of Docker and Podman, asked through their unix sockets.

Both answer the same question over HTTP.  Neither is woken up to say that it has none:
their sockets start them when somebody connects.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Collection
from typing import Any

from guestagent_monitoring import files

DOCKER, PODMAN = '/run/docker.sock', '/run/podman/podman.sock'

#: Seconds that an engine may take to answer, and the bytes that it may say.
SECONDS = 5.0
SIZE_MAX = 8 * 1024 * 1024

#: HTTP/1.0: the answer comes in one piece, and then the connection ends.
_REQUEST = b'GET /containers/json?all=true HTTP/1.0\r\nHost: localhost\r\n\r\n'
_PODMAN_MARK = b'libpod-api-version:'
_PODMAN_CONTAINERS = 'var/lib/containers/storage/overlay-containers/containers.json'


def containers(
    root: str = '/', sockets: Collection[str] = (DOCKER, PODMAN)
) -> list[dict[str, Any]] | None:
    """Return the containers, those too that do not run, sorted by engine and id.

    Each is ``{engine, id, names, image, program, state, created}``: ``program`` is
    what the command begins with, since its arguments may be secret; ``state`` is
    running, exited, paused, created and others; ``created`` is in UNIX seconds.  It is
    ``None`` where no engine can be asked.

    :raises OSError: one does not answer in time.
    :raises ValueError: what it answers makes no sense.
    """
    found: list[dict[str, Any]] = []
    asked = False
    for path in sockets:
        if _sleeps(root, path):
            continue
        try:
            answer = _ask(os.path.join(root, path.lstrip('/')))
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            continue  # it does not run, or is none of the agent's business
        asked = True
        found += read(answer)
    if not asked:
        return None
    return sorted(found, key=lambda item: (item['engine'], item['id']))


def _sleeps(root: str, path: str) -> bool:
    """Whether to connect would start an engine that has nothing to tell."""
    if path == DOCKER:
        return not os.path.exists(os.path.join(root, 'run/docker.pid'))
    if path == PODMAN:
        return files.read_first(root, _PODMAN_CONTAINERS) in (None, '[]', 'null')
    return False


def _ask(path: str) -> bytes:
    """Return all that is answered, head and body."""
    deadline = time.monotonic() + SECONDS
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)
        connection.sendall(_REQUEST)
        while data := connection.recv(65536):
            answer += data
            if len(answer) > SIZE_MAX:
                raise ValueError(f'{path} says more than {SIZE_MAX} bytes')
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f'{path} has not answered within {SECONDS:g} s')
            connection.settimeout(left)
    return bytes(answer)


def read(answer: bytes) -> list[dict[str, Any]]:
    """Return the containers that an engine's answer, head and body, names; no I/O.

    :raises ValueError: it makes no sense.
    """
    head, _, body = answer.partition(b'\r\n\r\n')
    status = head.split(b'\r\n', 1)[0].decode('ascii', 'replace')
    if status.split()[1:2] != ['200']:
        raise ValueError(f'an engine of containers says {status!r}')
    engine = 'podman' if _PODMAN_MARK in head.lower() else 'docker'
    try:
        told = json.loads(body)
    except RecursionError:
        raise ValueError('an engine of containers answers in too many layers') from None
    if not isinstance(told, list):
        raise ValueError('an engine of containers tells no list of them')
    return [_describe(engine, each) for each in told if isinstance(each, dict)]


def _describe(engine: str, each: dict[str, Any]) -> dict[str, Any]:
    names = each.get('Names')
    names = names if isinstance(names, list) else []
    created = each.get('Created')
    command = str(each.get('Command') or '').split()
    return {
        'engine': engine,
        'id': str(each.get('Id') or ''),
        'names': [str(name).lstrip('/') for name in names],
        'image': str(each.get('Image') or ''),
        'program': command[0] if command else '',
        'state': str(each.get('State') or ''),
        'created': created if isinstance(created, int) else None,
    }
