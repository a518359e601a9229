# SPDX-License-Identifier: Apache-2.0
"""What is installed, by each of the systems that install.

Their databases are read only when they have changed since the last look: until then a
look costs a few calls of stat(2).
"""

from __future__ import annotations

import binascii
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from guestagent_monitoring import files, programs

#: Names with versions; of what is installed more than once all of them.
Installed = dict[str, str]
Pairs = Iterator[tuple[str, str]]

_RPM_FOLDERS = ('var/lib/rpm', 'usr/lib/sysimage/rpm', 'usr/share/rpm')
_RPM_FILES = ('rpmdb.sqlite', 'rpmdb.sqlite-wal', 'Packages.db', 'Packages')
_RPM_SECONDS = 60
_APK = ('lib/apk/db/installed', 'usr/lib/apk/db/installed')
_FLATPAK = 'var/lib/flatpak/app'
_SNAPS = ('snap', 'var/lib/snapd/snap')
_SNAP_VERSION = re.compile(r'^version:\s*[\'"]?([^\'"\n]+)', re.MULTILINE)


def dpkg(root: str) -> Pairs:
    """Return what dpkg has installed, also in images without dpkg itself."""
    paths = ['var/lib/dpkg/status']
    paths += [
        f'var/lib/dpkg/status.d/{name}'
        for name in files.read_names(root, 'var/lib/dpkg/status.d')
        if not name.endswith('.md5sums')
    ]
    for path in paths:
        yield from _paragraphs(root, path, 'Package: ', 'Version: ', 'Status: ')


def apk(root: str) -> Pairs:
    """Return what apk has installed."""
    for path in _APK:
        yield from _paragraphs(root, path, 'P:', 'V:', None)


def rpm(root: str) -> Pairs:
    """Return what rpm has installed, as rpm itself tells it.

    :raises OSError: it does not.
    """
    if not any(rpm_paths(root)) or programs.find('rpm') is None:
        return
    form = '%{NAME}\\t%{VERSION}-%{RELEASE}\\n'
    said = programs.ask(
        ['rpm', '--root', os.path.abspath(root), '-qa', '--queryformat', form],
        _RPM_SECONDS,
    )
    for line in said.splitlines():
        name, _, version = line.partition('\t')
        if version and name != 'gpg-pubkey':
            yield name, version


def flatpak(root: str) -> Pairs:
    """Return flatpak's applications, with their branch and commit."""
    for name in files.read_names(root, _FLATPAK):
        path = os.path.join(root, _FLATPAK, name, 'current')
        try:
            branch = os.path.basename(os.readlink(path))
            commit = os.path.basename(os.readlink(os.path.join(path, 'active')))
        except OSError:
            continue
        yield name, f'{branch} {commit[:12]}'


def snap(root: str) -> Pairs:
    """Return the snaps, with their version, or the revision of one without."""
    for folder in _SNAPS:
        for name in files.read_names(root, folder):
            path = os.path.join(root, folder, name, 'current')
            try:
                revision = os.readlink(path)
            except OSError:
                continue
            told = files.read_first(path, 'meta/snap.yaml') or ''
            found = _SNAP_VERSION.search(told)
            yield name, found[1].strip() if found else revision


class Source:
    """One system that installs, and what it had installed at the last look.

    :param read: returns all names with versions.
    :param paths: return what changes whenever something is installed.
    """

    def __init__(
        self, read: Callable[[str], Pairs], paths: Callable[[str], list[str]]
    ) -> None:
        self._read = read
        self._paths = paths
        self._signature: list[tuple[str, int, int, int]] | None = None
        self._installed: Installed = {}

    def look(self, root: str) -> Installed:
        """Return what is installed now; an object that is new only if it changed."""
        # Taken before: what changes meanwhile is seen the next time.
        signature = list(signature_of(root, self._paths(root)))
        if signature != self._signature:
            found: Installed = {}
            for name, version in self._read(root):
                others = found.get(name, version).split(', ')
                if version not in others:
                    version = ', '.join(sorted([*others, version]))
                found[name] = version
            self._installed = {name: found[name] for name in sorted(found)}
            self._signature = signature
        return self._installed


class Applications:
    """Tells ``{source: {name: version}}`` of all sources that have something."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources = {
            'dpkg': Source(
                dpkg, _fixed('var/lib/dpkg/status', 'var/lib/dpkg/status.d')
            ),
            'rpm': Source(rpm, rpm_paths),
            'apk': Source(apk, _fixed(*_APK)),
            'flatpak': Source(flatpak, _fixed('var/lib/flatpak/.changed', _FLATPAK)),
            'snap': Source(snap, _snap_paths),
        }

    def __call__(self, root: str = '/') -> dict[str, Installed]:
        """Look at all of them.

        :raises OSError: one of them cannot tell.
        """
        with self._lock:
            found = {name: each.look(root) for name, each in self._sources.items()}
        return {name: installed for name, installed in found.items() if installed}


def _paragraphs(
    root: str, path: str, name_mark: str, version_mark: str, status_mark: str | None
) -> Pairs:
    """Return the names and versions in a file of paragraphs, line by line."""
    name = version = ''
    installed = True
    try:
        for line in _lines(os.path.join(root, path)):
            if line == '\n':
                if name and version and installed:
                    yield name, version
                name, version, installed = '', '', True
            elif line.startswith(name_mark):
                name = line[len(name_mark) :].strip()
            elif line.startswith(version_mark):
                version = line[len(version_mark) :].strip()
            elif status_mark is not None and line.startswith(status_mark):
                installed = line.endswith(' installed\n')
    except (FileNotFoundError, NotADirectoryError):
        return


def _lines(path: str) -> Iterator[str]:
    """Return the lines of a file, and an empty one after the last."""
    with open(path, encoding='utf-8', errors='replace') as file:
        yield from file
    yield '\n'


def _fixed(*paths: str) -> Callable[[str], list[str]]:
    return lambda root: list(paths)


def rpm_paths(root: str) -> list[str]:
    """Return the files of rpm's database that are there, in any of its forms."""
    return [
        f'{folder}/{file}'
        for folder in _RPM_FOLDERS
        for file in _RPM_FILES
        if os.path.exists(os.path.join(root, folder, file))
    ]


def _snap_paths(root: str) -> list[str]:
    """Return the folder of each snap: a new revision is a new link in it."""
    return [
        f'{folder}/{name}'
        for folder in _SNAPS
        for name in files.read_names(root, folder)
    ]


def signature_of(root: str, paths: list[str]) -> Iterator[tuple[str, int, int, int]]:
    """Return what is another as soon as one of these files or folders changes."""
    for path in paths:
        try:
            told = os.stat(os.path.join(root, path))
        except OSError:
            continue
        yield path, told.st_mtime_ns, told.st_size, told.st_ino


#: The one memory of both facts below.
_APPLICATIONS = Applications()


def applications() -> dict[str, Installed]:
    """Return ``{source: {name: version}}``; the source is dpkg, rpm, apk, ..."""
    return _APPLICATIONS()


def application_digests() -> dict[str, dict[str, Any]]:
    """Return ``{source: {count, digest}}``; the digest is another if anything is.

    (A checksum will do, and takes no library into the memory.)
    """
    return {
        source: {
            'count': len(installed),
            'digest': f'{binascii.crc32(repr(installed).encode()):08x}',
        }
        for source, installed in _APPLICATIONS().items()
    }
