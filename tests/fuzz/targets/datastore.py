# SPDX-License-Identifier: Apache-2.0
"""Sealed backups, what servers of databases answer, and what Trove seals."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import time

from guestagent_datastore.backups import sealing
from guestagent_datastore.engines.postgresql import probe
from guestagent_datastore.engines.redis import client as redis
from guestagent_trove import sealing as trove

from guestagent import errors
from tests.fuzz import registry

_BACKUP_KEY = bytes(range(32))
_BACKUPS = (b'', b'a little', bytes(sealing.CHUNK), bytes(2 * sealing.CHUNK + 5))


def _sealed_backups() -> list[bytes]:
    made = []
    for plain in _BACKUPS:
        sealer = sealing.Sealer(_BACKUP_KEY)
        made.append(sealer.feed(plain) + sealer.finish())
    return made


@registry.target_of(_sealed_backups)
def sealed_backup(data: bytes) -> None:
    """What opens as a backup was sealed as one, however it is cut."""
    assert _open_backup(data, 1 << 20) == _open_backup(data, 1000)


def _open_backup(data: bytes, step: int) -> bytes | None:
    opener = sealing.Opener({sealing.name_of(_BACKUP_KEY): _BACKUP_KEY})
    try:
        pieces = [opener.feed(data[at : at + step]) for at in range(0, len(data), step)]
        plain = b''.join([*pieces, opener.finish()])
    except errors.StorageError:
        return None
    assert plain in _BACKUPS
    return plain


@registry.target(
    b'+OK\r\n', b':1\r\n', b'*2\r\n$1\r\na\r\n*-1\r\n', b'-ERR\r\n', b'$-1\r\n'
)
def redis_answer(data: bytes) -> None:
    """A result of few bytes, or a closed connection: a server may be anybody's."""
    stream = io.BytesIO(data)
    with contextlib.suppress(ConnectionError):
        while True:
            redis.read_result(stream)


_READY = b'R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I'


@registry.target(
    _READY,
    _READY + b'D\0\0\0\x04Z\0\0\0\x05I',
    b'E\0\0\0\x0cC57P03\0\0',
    b'Z\0\0\0\x03',
)
def postgresql_answer(data: bytes) -> None:
    """Healthy, refused, or a closed connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:65536])
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError, probe.Refused):
            probe.converse(ours, 'os_admin', time.monotonic() + 60)


_TROVE = trove.Seal('vm', os.urandom(16).hex())
_TROVE_CONTEXT = {'context': _TROVE.reply({'user': 'me'})}


@registry.target(
    registry.dump({'args': {'limit': _TROVE.reply(1)}, 'context': _TROVE_CONTEXT}),
    registry.dump({'args': {}, 'context': {'user': 'me'}}),
    registry.dump({'args': {'limit': 1}, 'context': _TROVE_CONTEXT}),
)
def trove_request(data: bytes) -> None:
    """What opens as Trove's has its context, or it is refused."""
    try:
        found = json.loads(data)
        args, context = found['args'], dict(found['context'])
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    try:
        opened = _TROVE.open(args, context)
    except errors.Refused:
        return
    assert isinstance(opened.values, dict)
    assert opened.caller == trove.CALLER
