# SPDX-License-Identifier: Apache-2.0
"""The child process that does what lasts; it is run as a module.

Its request comes over a pipe (see :mod:`guestagent_datastore.backups.link`), for it
holds tokens and keys, which must stand in no command line.  It ends what it has begun,
programs and objects, when the agent ends or says so.
"""

from __future__ import annotations

import binascii
import dataclasses
import logging
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import errors
from guestagent_datastore import models, programs
from guestagent_datastore.backups import link, parts, pipeline, sealing
from guestagent_datastore.storage import base, registry

Request = Mapping[str, Any]


def _backup(storage: base.Storage, request: Request, line: link.Link) -> Any:
    estimate = request['estimate']
    stored, size = pipeline.save(
        storage,
        request['name'],
        _command(request),
        level=request['level'],
        keys=_keys(request),
        progress=lambda done, _stored: line.progress(done, estimate),
        metadata=lambda: line.ask('metadata')['metadata'],
        arm=line.arm,
        settle=line.settle,
    )
    if line.gone:
        storage.delete(stored.location)
        raise errors.Cancelled('it was cancelled')
    return {**dataclasses.asdict(stored), 'stream_size': size}


def _restore(storage: base.Storage, request: Request, line: link.Link) -> Any:
    stored = pipeline.load(
        storage,
        request['location'],
        request['checksum'],
        _command(request),
        keys=_keys(request),
        progress=line.progress,
    )
    return dataclasses.asdict(stored)


def _describe(storage: base.Storage, request: Request, line: link.Link) -> Any:
    return dataclasses.asdict(
        storage.describe(request['location'], request['checksum'])
    )


def _delete(storage: base.Storage, request: Request, line: link.Link) -> Any:
    storage.delete(request['location'])


def _sweep(storage: base.Storage, request: Request, line: link.Link) -> Any:
    return {name: storage.sweep(name) for name in request['names']}


def _log(storage: base.Storage, request: Request, line: link.Link) -> Any:
    return parts.handle(storage, request)


OPERATIONS: dict[str, Callable[[base.Storage, Request, link.Link], Any]] = {
    'backup': _backup,
    'restore': _restore,
    'describe': _describe,
    'delete': _delete,
    'sweep': _sweep,
    'log': _log,
}


def _command(request: Request) -> models.Command:
    given = request['command']
    return models.Command(
        tuple(given['argv']),
        given['environment'],
        pathlib.Path(given['folder']),
        given['user'],
    )


def _keys(request: Request) -> list[bytes]:
    """Return the keys, the one to seal with first."""
    if request['key']:
        return [_key(request['key'])]
    return sealing.read_keys(request['key_file']) if request['key_file'] else []


def _key(text: str) -> bytes:
    try:
        key = binascii.unhexlify(text)
    except ValueError:
        key = b''
    if len(key) != sealing.KEY_SIZE:
        raise errors.InvalidArgument(
            f'encryption_key: it must be {2 * sealing.KEY_SIZE} hexadecimal digits'
        )
    return key


def _run(line: link.Link) -> None:
    request = line.request()
    if request['mark'] is not None:
        programs.bear(request['mark'])
    if request['op'] != 'backup':
        line.arm()
    storage = registry.connect(base.Target(**request['target']))
    try:
        line.result(OPERATIONS[request['op']](storage, request, line))
    finally:
        storage.close()


def main() -> int:
    """Serve one request; return 0, or 1 when it failed."""
    logging.basicConfig(level=logging.WARNING)
    line = link.Link()
    try:
        _run(line)
    except errors.GuestAgentError as error:
        line.settle()
        line.fail(error, isinstance(error, pipeline.LeftBehind))
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
