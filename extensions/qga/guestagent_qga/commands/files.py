# SPDX-License-Identifier: Apache-2.0
"""Files: handles of this channel stand for those of the extension ``file``."""

from __future__ import annotations

import os
from typing import Any

from guestagent_qga import base64, errors
from guestagent_qga import guest as guests

Arguments = dict[str, Any]

#: What is read unless the client says how much, and the most that it may ask for.
READ_COUNT = 4096
READ_MAX = 48 * 1024 * 1024

#: The modes, with what the extension calls each.
_MODES = {
    name: f'{kind}{plus}'
    for kind in 'rwa'
    for plus, names in (
        ('', (kind, f'{kind}b')),
        ('+', (f'{kind}+', f'{kind}+b', f'{kind}b+')),
    )
    for name in names
}
_WHENCE = {os.SEEK_SET: 'set', os.SEEK_CUR: 'cur', os.SEEK_END: 'end'}


def file_open(guest: guests.Guest, arguments: Arguments) -> int:
    """Open a file and return its handle; a new one is open to all."""
    path, mode = arguments['path'], arguments.get('mode', 'r')
    if mode not in _MODES:
        raise errors.CommandError(f"invalid file open mode '{mode}'")
    failed = f"failed to open file '{path}' (mode: '{mode}')"
    try:
        opened = guest.call(
            'file', 'open', path=path, mode=_MODES[mode], permissions=0o666
        )
    except errors.FAILED as error:
        raise errors.CommandError(f'{failed}: {errors.reason(error)}') from error
    try:
        number: int = guest.state.take_handle()
    except OSError as error:
        guest.call('file', 'close', handle=opened['handle'])
        raise errors.CommandError(f'{failed}: {error.strerror}') from error
    with guest.lock:
        guest.handles[number] = opened['handle']
    return number


def file_close(guest: guests.Guest, arguments: Arguments) -> None:
    """Close a file."""
    _call(guest, arguments, 'close', 'failed to close handle')
    with guest.lock:
        guest.handles.pop(arguments['handle'], None)


def file_read(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Return what comes next in a file."""
    count = arguments.get('count', READ_COUNT)
    _handle(guest, arguments)
    if not 0 <= count <= READ_MAX:
        raise _bad_count(count)
    most = guest.settings.answer_max
    if most:
        count = min(count, base64.size_within(most))
    pieces: list[str] = []
    done = 0
    while True:
        some = min(base64.PIECE, count - done)
        try:
            found = _call(guest, arguments, 'read', 'failed to read file', count=some)
        except errors.CommandError:
            if not done:
                raise
            # It is told when the client goes on.
            return _read(done, pieces, False)
        pieces.append(found['data'])
        done += found['count']
        if done == count or found['count'] < some:
            return _read(done, pieces, found['eof'])


def _read(count: int, pieces: list[str], eof: bool) -> dict[str, Any]:
    return {'count': count, 'buf-b64': base64.Text(pieces), 'eof': eof}


def file_write(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Write to a file; return how much it took."""
    _handle(guest, arguments)
    data = base64.clean(arguments['buf-b64'])
    size = base64.size(data)
    count = arguments.get('count', size)
    if not 0 <= count <= size:
        raise _bad_count(count)
    found = _call(
        guest, arguments, 'write', 'failed to write to file', data=data, count=count
    )
    return {'count': found['count'], 'eof': found['eof']}


def file_seek(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Move the place where the next read or write begins."""
    _handle(guest, arguments)
    whence = arguments['whence']
    if isinstance(whence, int):
        if whence not in _WHENCE:
            raise errors.CommandError(f'invalid whence code {whence}')
        whence = _WHENCE[whence]
    found = _call(
        guest,
        arguments,
        'seek',
        'failed to seek file',
        offset=arguments['offset'],
        whence=whence,
    )
    return {'position': found['position'], 'eof': found['eof']}


def file_flush(guest: guests.Guest, arguments: Arguments) -> None:
    """Let the system have what was written."""
    _call(guest, arguments, 'flush', 'failed to flush file')


def _handle(guest: guests.Guest, arguments: Arguments) -> int:
    number = arguments['handle']
    with guest.lock:
        found = guest.handles.get(number)
    if found is None:
        raise errors.CommandError(f"handle '{number}' has not been found")
    return found


def _call(
    guest: guests.Guest, arguments: Arguments, method: str, failed: str, **others: Any
) -> Any:
    handle = _handle(guest, arguments)
    try:
        return guest.call('file', method, handle=handle, **others)
    except errors.FAILED as error:
        raise errors.CommandError(f'{failed}: {errors.reason(error)}') from error


def _bad_count(count: int) -> errors.CommandError:
    return errors.CommandError(f"value '{count}' is invalid for argument count")
