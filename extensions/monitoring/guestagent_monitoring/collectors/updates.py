# SPDX-License-Identifier: Apache-2.0
"""The updates that wait, by what the guest's own lists say: nothing is fetched.

To know takes the system's own program some seconds, so that it is asked only when the
lists, or what is installed, have changed; in a process that yields to all others.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from guestagent_monitoring import programs
from guestagent_monitoring.collectors import applications

SECONDS = 300.0
#: How many packages are named; the count counts all.
NAMED_MAX = 200

_APT = ('apt-get', '-s', '-qq', '-o', 'Debug::NoLocking=1', 'dist-upgrade')
_APT_LINE = re.compile(r'Inst (\S+) (?:\[\S+\] )?\((\S+) (.*)')
_DNF = ('dnf', '-C', '-q', 'check-update')
_DNF_SECURITY = ('dnf', '-C', '-q', '--security', 'check-update')
#: What dnf's exit status says: nothing, or something, is to be updated.
_DNF_STATUSES = (0, 100)
_APK = ('apk', 'version', '-v', '-l', '<')
_APK_LINE = re.compile(r'(\S+)-[^-\s]+-r\d+\s+<\s+(\S+)')


class _Updates(NamedTuple):
    """Names with their new versions, and how many are for security, if known."""

    packages: dict[str, str]
    security: int | None


def _apt() -> _Updates:
    packages, security = {}, 0
    for line in programs.ask(_APT, SECONDS).splitlines():
        found = _APT_LINE.match(line)
        if found:
            packages[found[1]] = found[2]
            security += 'security' in found[3].lower()
    return _Updates(packages, security)


def _dnf() -> _Updates:
    packages = dict(_dnf_lines(_DNF))
    return _Updates(packages, len(dict(_dnf_lines(_DNF_SECURITY))) if packages else 0)


def _dnf_lines(command: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for line in programs.ask(command, SECONDS, _DNF_STATUSES).splitlines():
        words = line.split()
        if line.startswith('Obsoleting'):
            return  # what follows is named above
        if len(words) == 3 and '.' in words[0]:
            yield words[0].rpartition('.')[0], words[1]


def _apk() -> _Updates:
    told = (_APK_LINE.match(line) for line in programs.ask(_APK, SECONDS).splitlines())
    return _Updates({found[1]: found[2] for found in told if found}, None)


class _Manager(NamedTuple):
    """A system that updates.

    :ivar lists: what changes when its lists do; without the first there are none.
    :ivar installed: what changes when something is installed.
    """

    name: str
    lists: tuple[str, ...]
    installed: Callable[[str], list[str]]
    ask: Callable[[], _Updates]


_MANAGERS = (
    _Manager(
        'apt-get',
        ('var/lib/apt/lists', 'etc/apt/preferences', 'etc/apt/preferences.d'),
        lambda root: ['var/lib/dpkg/status'],
        _apt,
    ),
    _Manager(
        'dnf',
        ('var/cache/dnf', 'var/cache/dnf/last_makecache'),
        applications.rpm_paths,
        _dnf,
    ),
    _Manager('dnf', ('var/cache/libdnf5',), applications.rpm_paths, _dnf),
    _Manager('apk', ('var/cache/apk',), lambda root: ['lib/apk/db/installed'], _apk),
)


class Updates:
    """Tells what waits; remembers it until something changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signature: list[tuple[str, int, int, int]] | None = None
        self._told: dict[str, Any] | None = None

    def __call__(self, root: str = '/') -> dict[str, Any] | None:
        """Return ``{manager, count, security, packages}``.

        ``manager`` is apt-get, dnf or apk; ``security`` how many are for security,
        ``None`` where it does not say; ``packages`` ``{name: new version}`` of the
        first 200.  It is ``None`` in a guest with none of them, or without lists.

        :raises OSError: the manager does not tell.
        """
        with self._lock:
            manager = _find(root)
            if manager is None:
                return None
            paths = [*manager.lists, *manager.installed(root)]
            # Taken before: what changes meanwhile is seen the next time.
            signature = list(applications.signature_of(root, paths))
            if signature != self._signature:
                self._told = _describe(manager.name, manager.ask())
                self._signature = signature
            return self._told


def _find(root: str) -> _Manager | None:
    for manager in _MANAGERS:
        if os.path.exists(os.path.join(root, manager.lists[0])) and programs.find(
            manager.name
        ):
            return manager
    return None


def _describe(name: str, updates: _Updates) -> dict[str, Any]:
    names = sorted(updates.packages)
    return {
        'manager': name,
        'count': len(names),
        'security': updates.security,
        'packages': {each: updates.packages[each] for each in names[:NAMED_MAX]},
    }
