# SPDX-License-Identifier: Apache-2.0
"""The system's packages, by apt."""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Sequence

from guestagent import errors, extension
from guestagent_datastore import files, models, programs

#: Seconds for one run of apt.
SECONDS = 1800
#: What asks whether a package may start its service: it must not, ours is another.
POLICY = pathlib.Path('/usr/sbin/policy-rc.d')

_QUIET = {'DEBIAN_FRONTEND': 'noninteractive'}
_POLICY_TEXT = '#!/bin/sh\n# Written by the guest agent.\nexit 101\n'
_NAME = re.compile(r'[a-z0-9][a-z0-9+.-]+(=[0-9A-Za-z.+~:-]+)?\Z')


def check(names: Sequence[str]) -> None:
    """Refuse what is no package's name, or ``name=version``.

    :raises guestagent.errors.InvalidArgument: it is not.
    """
    for name in names:
        if not _NAME.match(name):
            raise errors.InvalidArgument(f'packages: {name!r} is no package')


def missing(names: Sequence[str]) -> list[str]:
    """Return those that are not installed, or not in the version that is named."""
    wanted = []
    for name in names:
        package, _, version = name.partition('=')
        said = programs.run(
            models.Command(
                ('dpkg-query', '--show', '--showformat=${Status}=${Version}', package)
            ),
            codes=(0, 1),
        )
        status, _, present = said.partition('=')
        if status != 'install ok installed' or version not in ('', present):
            wanted.append(name)
    return wanted


def install(names: Sequence[str], context: extension.Context) -> None:
    """Install what is not there.

    :raises guestagent.errors.GuestError: apt cannot.
    """
    check(names)
    wanted = missing(names)
    if wanted:
        _change(['install', *wanted], context)


def upgrade(names: Sequence[str], context: extension.Context) -> None:
    """Install the newest version that the guest's sources have.

    :raises guestagent.errors.GuestError: apt cannot.
    """
    check(names)
    _change(['install', '--only-upgrade', *names], context)


def _change(words: Sequence[str], context: extension.Context) -> None:
    if shutil.which('apt-get', path=programs.PATH) is None:
        raise errors.GuestError('this guest has no apt-get: install the packages first')
    context.report_progress(text='reading the lists of packages')
    _apt(['update'], context)
    context.report_progress(text=f'apt-get {" ".join(words)}')
    made = _forbid_services()
    try:
        _finish()
        _apt(
            [
                '--yes',
                '--no-install-recommends',
                # What an operator has changed stays.
                '--option=Dpkg::Options::=--force-confold',
                *words,
            ],
            context,
        )
    finally:
        if made:
            POLICY.unlink(missing_ok=True)


def _finish() -> None:
    """Get done what was cut short, as by the end of the guest: apt refuses before."""
    programs.run(
        models.Command(('dpkg', '--force-confold', '--configure', '--pending'), _QUIET),
        seconds=SECONDS,
        left=True,
    )


def _apt(words: Sequence[str], context: extension.Context) -> None:
    # Not killed when it is cancelled: half an installation is worse than a late one.
    context.check()
    programs.run(
        models.Command(
            (
                *('apt-get', '--quiet', '--option=DPkg::Lock::Timeout=120'),
                # So that what dpkg complains of is among the complaints.
                *('--option=Dpkg::Use-Pty=0', *words),
            ),
            _QUIET,
        ),
        seconds=SECONDS,
        left=True,
    )


def _forbid_services() -> bool:
    """Have packages start nothing; returns whether that is to be undone."""
    present = files.read(POLICY)
    if present and present != _POLICY_TEXT:
        return False
    files.write(POLICY, _POLICY_TEXT, 0o755)
    return True
