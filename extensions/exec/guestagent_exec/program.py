# SPDX-License-Identifier: Apache-2.0
"""What is to be run: arguments checked and turned into a process.

A caller's mistake is an :class:`guestagent.errors.InvalidArgument` that names the
argument and, where that is no secret, its value.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors

if TYPE_CHECKING:
    import subprocess

#: What to say of an OSError of exec(2) that the caller can mend.
_EXEC_ERRORS = {
    errno.ENOENT: 'there is no such program, or its interpreter is missing',
    errno.EACCES: 'it is not executable',
    errno.ENOEXEC: 'it is not a program (a script needs #! in its first line)',
    errno.ENOTDIR: 'a part of its path is not a folder',
    errno.ELOOP: 'its path has too many symbolic links',
    errno.ENAMETOOLONG: 'its path is too long',
    errno.E2BIG: 'arguments and environment are too large together',
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


def command_line(argv: Sequence[str] | None, shell: str | None) -> list[str]:
    """Return the program and its arguments; exactly one of the two must be given.

    :raises guestagent.errors.InvalidArgument: they make no command.
    """
    if (argv is None) == (shell is None):
        raise errors.InvalidArgument('give either argv or shell')
    if shell is not None:
        _check_text('shell', shell)
        return ['/bin/sh', '-c', '--', shell]
    if not argv or not argv[0]:
        raise errors.InvalidArgument('argv: the first item must name a program')
    for text in argv:
        _check_text('argv', text)
    return list(argv)


def environment(
    path: str, account: Account, extra: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the environment of a command: nothing of the agent's own.

    :raises guestagent.errors.InvalidArgument: a name or value cannot be one.
    """
    made = {'PATH': path, 'LANG': 'C.UTF-8', 'SHELL': '/bin/sh', **account.environment}
    for name, value in (extra or {}).items():
        if not name or '=' in name:
            raise errors.InvalidArgument(f"env: {name!r} cannot be a variable's name")
        _check_text('env', name)
        _check_text('env', value)
        made[name] = value
    return made


def folder(cwd: str | None) -> str:
    """Return the folder to run in.

    :raises guestagent.errors.InvalidArgument: it is not absolute.
    """
    if cwd is None:
        return '/'
    _check_text('cwd', cwd)
    if not cwd.startswith('/'):
        raise errors.InvalidArgument(f'cwd: {cwd!r} is not an absolute path')
    return cwd


def input_bytes(text: str | None, encoding: str) -> bytes | None:
    """Return what the command reads; ``None``: it gets ``/dev/null``.

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
        raise errors.InvalidArgument(f'stdin: it is not valid {encoding}') from None


def start(
    argv: list[str], cwd: str, env: dict[str, str], account: Account, has_input: bool
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a session, its outputs in pipes.

    :raises guestagent.errors.InvalidArgument: it cannot be run, and why.
    :raises guestagent.errors.GuestError: the guest is short of what it takes.
    """
    import subprocess

    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            bufsize=0,
            start_new_session=True,
            umask=0o022,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **account.switch,
        )
    except OSError as error:
        raise _explained(error, argv[0], cwd, account) from None


def _explained(
    error: OSError, name: str, cwd: str, account: Account
) -> errors.GuestAgentError:
    """Return the error that tells a caller what went wrong in the child."""
    if error.errno == errno.EPERM and account.switch:
        return errors.GuestError(
            'the agent may not change its user: it needs the '
            'capabilities CAP_SETUID and CAP_SETGID'
        )
    if error.filename == cwd and name != cwd:
        return errors.InvalidArgument(f'cwd: {cwd!r}: {error.strerror}')
    if error.errno in _EXEC_ERRORS:
        return errors.InvalidArgument(f'{name!r}: {_EXEC_ERRORS[error.errno]}')
    return errors.GuestError(f'{name!r} cannot be started: {error.strerror}')


def _check_text(name: str, text: str) -> None:
    """Refuse what the kernel cannot take; never quote it, it may be a secret."""
    if '\0' in text:
        raise errors.InvalidArgument(f'{name}: it must not contain NUL')
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise errors.InvalidArgument(f'{name}: it is not valid Unicode') from None
