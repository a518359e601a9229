# SPDX-License-Identifier: Apache-2.0
"""What is to be run: the arguments of a call, checked.

A caller's mistake is an :class:`guestagent.errors.InvalidArgument` that names the
argument and, where that is no secret, its value.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from guestagent import errors

#: The size of a terminal of which none was given.
ROWS, COLS = 24, 80

#: The limits that a caller may set, and what the system calls them.
LIMITS = {
    'cpu_seconds': 'RLIMIT_CPU',
    'memory': 'RLIMIT_AS',
    'files': 'RLIMIT_NOFILE',
    'processes': 'RLIMIT_NPROC',
    'file_size': 'RLIMIT_FSIZE',
}

#: Which outputs each way to capture them has.
CAPTURES = {
    'separated': ('stdout', 'stderr'),
    'merged': ('stdout',),
    'stdout': ('stdout',),
    'stderr': ('stderr',),
    'none': (),
}


class Account:
    """Whom a command runs as.

    :ivar switch: the arguments of ``Popen`` that make it so; empty where the command
        runs as the agent does.
    :ivar environment: the variables that say who it is.
    """

    __slots__ = ('environment', 'switch')

    def __init__(self, switch: dict[str, Any], environment: dict[str, str]) -> None:
        self.switch = switch
        self.environment = environment

    @property
    def number(self) -> int | None:
        """The user's number; ``None``: the agent's own."""
        return self.switch.get('user')


def find_account(user: str | None) -> Account:
    """Return the account of a user, given by name or number; ``None``: the agent's.

    :raises guestagent.errors.InvalidArgument: there is no such user.
    :raises guestagent.errors.GuestError: the agent is not root and so cannot change.
    """
    import pwd

    own = os.geteuid()
    try:
        entry = pwd.getpwuid(own) if user is None else _look_up(user)
    except KeyError:
        if user is None:
            return Account({}, {'HOME': '/'})
        raise errors.InvalidArgument(f'user: there is no user {user!r} in this guest')
    variables = {'HOME': entry.pw_dir, 'USER': entry.pw_name, 'LOGNAME': entry.pw_name}
    if user is None or (own != 0 and entry.pw_uid == own):
        return Account({}, variables)
    if own != 0:
        raise errors.GuestError(
            f'the agent does not run as root and cannot run a command as {user!r}'
        )
    return Account(
        {
            'user': entry.pw_uid,
            'group': entry.pw_gid,
            'extra_groups': os.getgrouplist(entry.pw_name, entry.pw_gid),
        },
        variables,
    )


def _look_up(user: str) -> Any:
    import pwd

    try:
        return pwd.getpwnam(user)
    except ValueError:
        raise KeyError(user)  # it holds a NUL
    except KeyError:
        # One way to write each: a policy that keeps out 0 must not let in 00.
        if not (user.isascii() and user.isdigit()) or user != str(int(user[:20])):
            raise
    try:
        return pwd.getpwuid(int(user))
    except OverflowError:
        raise KeyError(user)


class Plan(NamedTuple):
    """A program to be started.

    :ivar argv: its name and arguments.
    :ivar script: what is run in place of the program that the name stands for.
    :ivar stdin: what it reads first; ``None``: nothing.
    :ivar more: whether its input stays open for more.
    :ivar size: rows and columns of its terminal; ``None``: it has none.
    :ivar capture: a key of :data:`CAPTURES`.
    :ivar limits: by the names of :data:`LIMITS`.
    """

    argv: list[str]
    script: bytes | None
    folder: str
    environment: dict[str, str]
    account: Account
    stdin: bytes | None
    more: bool
    size: tuple[int, int] | None
    capture: str
    limits: Mapping[str, int]


def command_line(
    argv: Sequence[str] | None, shell: str | None, script: str | None = None
) -> list[str]:
    """Return the program and its arguments.

    Exactly one of the three must be given, but ``argv`` beside a script: then it is the
    script's arguments.

    :raises guestagent.errors.InvalidArgument: they make no command.
    """
    if script is not None:
        if shell is not None:
            raise errors.InvalidArgument('give either shell or script')
        for text in argv or ():
            check_text('argv', text)
        return ['script', *(argv or ())]
    if (argv is None) == (shell is None):
        raise errors.InvalidArgument('give either argv or shell')
    if shell is not None:
        check_text('shell', shell)
        return ['/bin/sh', '-c', '--', shell]
    if not argv or not argv[0]:
        raise errors.InvalidArgument('argv: the first item must name a program')
    for text in argv:
        check_text('argv', text)
    return list(argv)


def environment(
    path: str, account: Account, extra: Mapping[str, str] | None, clear: bool = False
) -> dict[str, str]:
    """Return the environment of a command: nothing of the agent's own.

    :param clear: nothing but ``extra``.
    :raises guestagent.errors.InvalidArgument: a name or value cannot be one.
    """
    made = {'PATH': path, 'LANG': 'C.UTF-8', 'SHELL': '/bin/sh', **account.environment}
    if clear:
        made = {}
    for name, value in (extra or {}).items():
        if not name or '=' in name:
            raise errors.InvalidArgument(f"env: {name!r} cannot be a variable's name")
        check_text('env', name)
        check_text('env', value)
        made[name] = value
    return made


def folder(cwd: str | None) -> str:
    """Return the folder to run in.

    :raises guestagent.errors.InvalidArgument: it is not absolute.
    """
    if cwd is None:
        return '/'
    check_text('cwd', cwd)
    if not cwd.startswith('/'):
        raise errors.InvalidArgument(f'cwd: {cwd!r} is not an absolute path')
    return cwd


def decoded(name: str, text: str | None, encoding: str) -> bytes | None:
    """Return the bytes of an argument that travels as text.

    :raises guestagent.errors.InvalidArgument: the text is not in that encoding.
    """
    if text is None:
        return None
    try:
        if encoding == 'base64':
            return base64.b64decode(text, validate=True)
        return text.encode()
    except (binascii.Error, ValueError):
        # Not the error's own words: they may quote what is secret.
        raise errors.InvalidArgument(f'{name}: it is not valid {encoding}') from None


def limits(given: Mapping[str, int] | None) -> Mapping[str, int]:
    """Return the limits of a program.

    :raises guestagent.errors.InvalidArgument: there is no such limit, or it is below 0.
    """
    for name, value in (given or {}).items():
        if name not in LIMITS:
            raise errors.InvalidArgument(
                f'limits: there is no {name!r}; there are {", ".join(LIMITS)}'
            )
        if not 0 <= value < 2**62:
            raise errors.InvalidArgument(f'limits: {name} cannot be {value}')
    return given or {}


def terminal_size(pty: bool | Mapping[str, int]) -> tuple[int, int] | None:
    """Return the rows and columns of a terminal; ``None``: there is to be none.

    :raises guestagent.errors.InvalidArgument: they are not from 1 to 65535.
    """
    if isinstance(pty, bool):
        return (ROWS, COLS) if pty else None
    unknown = pty.keys() - {'rows', 'cols'}
    if unknown:
        raise errors.InvalidArgument(
            f'pty: it has rows and cols, and no {min(unknown)!r}'
        )
    return size(pty.get('rows', ROWS), pty.get('cols', COLS))


def size(rows: int, cols: int) -> tuple[int, int]:
    """Return the rows and columns of a terminal.

    :raises guestagent.errors.InvalidArgument: they are not from 1 to 65535.
    """
    for name, value in (('rows', rows), ('cols', cols)):
        if not 1 <= value <= 65535:
            raise errors.InvalidArgument(f'{name}: {value} is not from 1 to 65535')
    return rows, cols


def check_text(name: str, text: str) -> None:
    """Refuse what the kernel cannot take; never quote it, it may be a secret."""
    if '\0' in text:
        raise errors.InvalidArgument(f'{name}: it must not contain NUL')
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise errors.InvalidArgument(f'{name}: it is not valid Unicode') from None
