# SPDX-License-Identifier: Apache-2.0
"""Programs: started here, kept and read by the extension ``exec``."""

from __future__ import annotations

from typing import Any

from guestagent import errors as native
from guestagent_qga import base64, errors
from guestagent_qga import guest as guests

Arguments = dict[str, Any]

#: Of each output so much is kept, in bytes.
OUTPUT_MAX = 16 * 1024 * 1024

_CAPTURES = {True: 'separated', False: 'none'}


def exec(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Start a program and return its process id; nobody waits for it."""
    capture = arguments.get('capture-output', False)
    wanted: dict[str, Any] = {
        'argv': [arguments['path'], *arguments.get('arg', [])],
        'capture': _CAPTURES.get(capture, capture),
        'output_limit': OUTPUT_MAX,
    }
    if 'env' in arguments:
        pairs = (each.partition('=') for each in arguments['env'])
        wanted |= {'clear_env': True, 'env': {name: text for name, _, text in pairs}}
    if 'input-data' in arguments:
        wanted['stdin'] = base64.clean(arguments['input-data'])
        wanted['stdin_encoding'] = 'base64'
    try:
        started = guest.call('exec', 'spawn', **wanted)
    except errors.FAILED as error:
        raise errors.CommandError(
            f'Failed to execute child process \u201c{arguments["path"]}\u201d '
            f'({errors.reason(error)})'
        ) from error
    return {'pid': started['pid']}


def exec_status(guest: guests.Guest, arguments: Arguments) -> dict[str, Any]:
    """Return how a program ended, with what it wrote, and forget it."""
    pid = arguments['pid']
    try:
        status = guest.call('exec', 'status', handle=pid)
        if status['running']:
            return {'exited': False}
        found = {'exited': True, **_end(status), **_outputs(guest, status)}
        guest.call('exec', 'forget', handle=pid)
    except native.CallerError as error:
        raise errors.CommandError(f'PID {pid} does not exist') from error
    return found


def _end(status: dict[str, Any]) -> dict[str, int]:
    if status['signal'] is not None:
        return {'signal': status['signal']}
    return {'exitcode': status['exit_code']}


def _outputs(guest: guests.Guest, status: dict[str, Any]) -> dict[str, Any]:
    """Return both outputs as far as there are any, and as they fit."""
    written = {
        name: status[f'{stream}_bytes']
        for name, stream in (('out', 'stdout'), ('err', 'stderr'))
    }
    most = guest.settings.answer_max
    room = base64.size_within(most) if most else 2 * OUTPUT_MAX
    found: dict[str, Any] = {}
    for name, stream in (('out', 'stdout'), ('err', 'stderr')):
        if not written[name]:
            continue
        # Half of the room, and what the other one leaves of its own half.
        other = written['err' if name == 'out' else 'out']
        share = room - min(other, room // 2)
        text, cut = _read(guest, status['handle'], stream, share)
        if not len(text):
            continue
        found[f'{name}-data'] = text
        found[f'{name}-truncated'] = cut or bool(status[f'{stream}_truncated'])
    return found


def _read(
    guest: guests.Guest, handle: str, stream: str, most: int
) -> tuple[base64.Text, bool]:
    """Return up to so many bytes of an output, and whether there are more."""
    pieces: list[str] = []
    offset, end = 0, most // 3 * 3
    while offset < end:
        count = min(base64.PIECE, end - offset)
        part = guest.call(
            'exec', 'read', handle=handle, stream=stream, offset=offset, count=count
        )
        pieces.append(part['data'])
        if part['eof'] or part['next'] - offset < count:
            return base64.Text(pieces), False
        offset = part['next']
    return base64.Text(pieces), True
