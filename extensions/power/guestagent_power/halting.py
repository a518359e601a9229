# SPDX-License-Identifier: Apache-2.0
"""Which program shuts a guest down that has no logind."""

from __future__ import annotations

import logging

from guestagent import errors
from guestagent_power import programs

LOG = logging.getLogger(__name__)

#: The programs of each mode, the best first.
_PROGRAMS = {
    mode: (
        (mode,),
        ('shutdown', *arguments, '+0'),
        # A systemd without the names that other inits have had.
        ('systemctl', mode),
    )
    for mode, arguments in {
        'poweroff': ('-h', '-P'),
        'halt': ('-h', '-H'),
        'reboot': ('-r',),
    }.items()
}


def command(mode: str, path: str) -> list[str]:
    """Return the program and its arguments.

    :param mode: ``poweroff``, ``reboot`` or ``halt``.
    :raises guestagent.errors.GuestError: there is none.
    """
    for name, *arguments in _PROGRAMS[mode]:
        found = programs.find(name, path)
        if found is not None:
            return [found, *arguments]
    names = ', '.join(words[0] for words in _PROGRAMS[mode])
    raise errors.GuestError(
        f'there is no logind, and none of {names} in {path} ([power] path)'
    )


def tell(message: str, path: str) -> None:
    """Show a message to those who are logged in, where ``wall`` can."""
    found = programs.find('wall', path)
    if not message or found is None:
        return
    try:
        programs.run([found], path, f'{message}\n')
    except errors.GuestError as error:
        LOG.warning('the message was not shown: %s', error)
