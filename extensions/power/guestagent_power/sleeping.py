# SPDX-License-Identifier: Apache-2.0
"""Suspends a guest: through logind, pm-utils, or the kernel itself."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from guestagent import errors
from guestagent_power import logind, programs

#: The kernel's files; see its Documentation/admin-guide/pm/sleep-states.rst.
POWER = pathlib.Path('/sys/power')


class Kind(NamedTuple):
    """What a kind of sleep is called by those who do it."""

    logind: str
    pm_utils: str
    state: str
    #: What /sys/power/disk must be; ``''``: whatever it is.
    disk: str = ''


KINDS = {
    'ram': Kind('Suspend', 'suspend', 'mem'),
    'disk': Kind('Hibernate', 'hibernate', 'disk'),
    'hybrid': Kind('HybridSleep', 'suspend-hybrid', 'disk', 'suspend'),
}


def prepare(name: str, path: str) -> Callable[[], None]:
    """Return what suspends the guest when it is called, and returns afterwards.

    :param name: of :data:`KINDS`.
    :param path: where programs are looked for.
    :raises guestagent.errors.GuestError: this guest cannot, and why.
    """
    kind = KINDS[name]
    manager = logind.Logind(path)
    answer = manager.can(kind.logind)
    if answer == 'yes':
        return functools.partial(manager.sleep, kind.logind)
    if answer == 'na':
        raise _cannot(name, 'the kernel, or the lack of swap space, does not allow it')
    if answer is not None:
        raise _cannot(name, f'logind does not allow it: {answer}')
    program = programs.find(f'pm-{kind.pm_utils}', path)
    asked = programs.find('pm-is-supported', path)
    if program is not None and asked is not None:
        try:
            programs.run([asked, f'--{kind.pm_utils}'], path)
        except errors.GuestError as error:
            raise _cannot(name, str(error)) from None
        return functools.partial(_run, [program], path)
    return _prepare_kernel(name, kind)


def _prepare_kernel(name: str, kind: Kind) -> Callable[[], None]:
    wanted = [(POWER / 'state', kind.state)]
    if kind.disk:
        wanted.insert(0, (POWER / 'disk', kind.disk))
    for file, word in wanted:
        try:
            # The word that counts now stands in brackets.
            offered = file.read_text().replace('[', '').replace(']', '').split()
        except OSError as error:
            raise _cannot(name, f'{file}: {error.strerror}') from None
        if word not in offered:
            raise _cannot(name, f'the kernel does not offer it: no {word!r} in {file}')
    return functools.partial(_write, wanted)


def _write(words: list[tuple[pathlib.Path, str]]) -> None:
    for file, word in words:
        try:
            file.write_text(word)
        except OSError as error:
            raise errors.GuestError(f'{file}: {error.strerror}') from None


def _run(argv: list[str], path: str) -> None:
    # It ends when the guest has woken.
    programs.run(argv, path, seconds=None)


def _cannot(name: str, reason: str) -> errors.GuestError:
    where = {'ram': 'to RAM', 'disk': 'to disk', 'hybrid': 'to RAM and disk'}[name]
    return errors.GuestError(f'this guest cannot be suspended {where}: {reason}')
