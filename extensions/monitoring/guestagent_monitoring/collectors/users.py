# SPDX-License-Identifier: Apache-2.0
"""Who is logged in, as logind keeps it in /run, else as utmp(5) does."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

from guestagent_monitoring import files

_SESSIONS = 'run/systemd/sessions'
_UTMP = ('run/utmp', 'var/run/utmp')
_USER_PROCESS = 7
#: struct utmp: where the machine has 32 bit programs too, its times have 32 bits.
_NARROW = struct.Struct('=hxxi32s4s32s256s4xi2i16x20x')
_WIDE = struct.Struct('=hxxi32s4s32s256s4xq2q16x20x4x')
_WIDE_MACHINES = ('aarch64', 'loongarch64', 'riscv64')


def users(root: str = '/') -> list[dict[str, Any]]:
    """Return the users who are logged in, each once, the longest there first.

    Each is ``{user, uid, login_time, host, seat, tty, sessions}`` of the first of
    their sessions, with how many they have; the fields are those of
    :func:`sessions`.
    """
    found: dict[str, dict[str, Any]] = {}
    for session in sorted(sessions(root), key=lambda item: item['login_time']):
        user = found.setdefault(
            session['user'],
            {
                **{
                    key: session[key]
                    for key in ('user', 'uid', 'login_time', 'host', 'seat', 'tty')
                },
                'sessions': 0,
            },
        )
        user['sessions'] += 1
    return list(found.values())


def sessions(root: str = '/') -> list[dict[str, Any]]:
    """Return the sessions of users, not those of greeters, by their id.

    Each is ``{id, user, uid, login_time, host, seat, tty, display, type, service,
    state, leader}``.  ``login_time`` is in UNIX seconds; ``host`` is where the user
    has come from, ``type`` tty, x11, wayland or unspecified, ``state`` active, online
    or closing, ``leader`` a process id.  What nobody knows is ``None``.
    """
    found = list(_logind(root)) or list(_utmp(root))
    return sorted(found, key=lambda item: (len(item['id']), item['id']))


def _logind(root: str) -> Iterator[dict[str, Any]]:
    for name in files.read_names(root, _SESSIONS):
        if name.endswith('.ref') or name.startswith('.'):
            continue
        try:
            fields = files.read_assignments(files.read(root, f'{_SESSIONS}/{name}'))
        except OSError:
            continue  # it has ended meanwhile
        if fields.get('CLASS', 'user').startswith('user') and fields.get('USER'):
            yield {
                'id': name,
                'user': fields['USER'],
                'uid': _number(fields.get('UID')),
                'login_time': int(fields.get('REALTIME', 0)) / 1e6,
                'host': fields.get('REMOTE_HOST') or None,
                'seat': fields.get('SEAT') or None,
                'tty': fields.get('TTY') or None,
                'display': fields.get('DISPLAY') or None,
                'type': fields.get('TYPE') or None,
                'service': fields.get('SERVICE') or None,
                'state': fields.get('STATE') or None,
                'leader': _number(fields.get('LEADER')),
            }


def _utmp(root: str) -> Iterator[dict[str, Any]]:
    for path in _UTMP:
        try:
            with open(os.path.join(root, path), 'rb') as file:
                data = file.read()
        except OSError:
            continue
        for session in read_utmp(data):
            if os.path.exists(f'{root}/proc/{session["leader"]}'):
                yield session
        return


def read_utmp(data: bytes) -> Iterator[dict[str, Any]]:
    """Return the sessions that utmp(5) has recorded, ended ones too; no I/O."""
    form = _WIDE if os.uname().machine in _WIDE_MACHINES else _NARROW
    whole = len(data) - len(data) % form.size
    for record in form.iter_unpack(data[:whole]):
        kind, leader, line, _id, user, host, _session, seconds, micro = record
        if kind == _USER_PROCESS:
            yield _of_utmp(leader, line, user, host, seconds + micro / 1e6)


def _of_utmp(
    leader: int, line: bytes, user: bytes, host: bytes, login_time: float
) -> dict[str, Any]:
    tty, came_from = _text(line), _text(host)
    display = tty if tty.startswith(':') else None
    return {
        'id': tty,
        'user': _text(user),
        'uid': None,
        'login_time': login_time,
        'host': came_from or None,
        'seat': None,
        'tty': None if display else tty or None,
        'display': display,
        'type': None,
        'service': None,
        'state': None,
        'leader': leader,
    }


def _text(field: bytes) -> str:
    return field.split(b'\0', 1)[0].decode('utf-8', 'replace')


def _number(text: str | None) -> int | None:
    return int(text) if text else None
