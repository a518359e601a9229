# SPDX-License-Identifier: Apache-2.0
"""Sets passwords by ``chpasswd``, which knows how this system keeps them."""

from __future__ import annotations

import os

from guestagent import errors
from guestagent_accounts import programs


def change(user: str, password: str, crypted: bool, path: str) -> None:
    """Set the password of a user who exists.

    :param crypted: whether ``password`` is what crypt(5) made of it.
    :param path: where ``chpasswd`` is looked for.
    :raises guestagent.errors.InvalidArgument: it cannot be a password.
    :raises guestagent.errors.GuestError: this guest cannot, or does not want it.
    """
    _check(password, crypted)
    if os.geteuid() != 0:
        raise errors.GuestError(
            'the agent does not run as root and cannot set passwords'
        )
    program = programs.find('chpasswd', path)
    if program is None:
        raise errors.GuestError(f'there is no chpasswd in {path} ([accounts] path)')
    argv = [program, *(['-e'] if crypted else [])]
    code, said = programs.run(argv, path, f'{user}:{password}\n'.encode())
    if code != 0:
        # It says what it was told only in error, but that is not ours to promise.
        said = said.replace(password, '...')
        raise errors.GuestError(f'chpasswd failed: {said or f"exit code {code}"}')


def _check(password: str, crypted: bool) -> None:
    """Refuse what chpasswd would take for something else; never quote it."""
    if not password:
        raise errors.InvalidArgument('password: it is empty')
    for sign, name in (('\n', 'a line break'), ('\0', 'NUL')):
        if sign in password:
            raise errors.InvalidArgument(f'password: it must not contain {name}')
    if crypted and ':' in password:
        raise errors.InvalidArgument('password: what is crypted has no colon')
    try:
        password.encode()
    except UnicodeEncodeError:
        raise errors.InvalidArgument('password: it is not valid Unicode') from None
