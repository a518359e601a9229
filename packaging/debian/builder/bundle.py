# SPDX-License-Identifier: Apache-2.0
"""Which Python distributions a package holds, and their files.

They are read from the environment that runs this, so that what is packaged is what
was tested.  Each must have the version that constraints.txt names.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
from collections.abc import Collection, Iterable

from packaging import requirements, utils

#: Never packaged, nor what only they require.
LEFT_OUT = {
    'eventlet': 'guestagent.imports keeps it out of every program',
    'pbr': 'only builds need it',
    'setuptools': 'only builds need it',
}

#: What no interpreter loads: sources of compiled modules, and other files of pip's.
_SUFFIXES = {'.c', '.cpp', '.h', '.pth', '.pxd', '.pyc', '.pyi', '.pyx'}
_RECORDS = {'INSTALLER', 'RECORD', 'REQUESTED', 'direct_url.json'}


class BundleError(Exception):
    """The environment does not have what is to be packaged."""


class Bundle:
    """The distributions of one package.

    :param folder: where they go, absolute on the target.
    :param wanted: requirements, such as ``guestagent[ctl]``.
    :param present: names of distributions that other packages bring, with what these
        require without extras.
    :param without: names of distributions that are left out, with what only they
        require, beside :data:`LEFT_OUT`.
    :raises BundleError: a requirement is not installed.
    """

    def __init__(
        self,
        folder: str,
        wanted: Iterable[str],
        present: Collection[str] = (),
        without: Collection[str] = (),
    ) -> None:
        self.folder = folder
        skipped = {*LEFT_OUT, *without}
        found: dict[str, importlib.metadata.Distribution] = {}
        seen: set[tuple[str, frozenset[str]]] = set()
        waiting = [requirements.Requirement(text) for text in wanted]
        while waiting:
            requirement = waiting.pop()
            name = utils.canonicalize_name(requirement.name)
            extras = frozenset(requirement.extras)
            if name in skipped or (name, extras) in seen:
                continue
            if name in present and not extras:
                continue
            seen.add((name, extras))
            found[name] = _distribution(name)
            waiting += _requires(found[name], extras)
        self._distributions = {
            name: found[name] for name in sorted(found) if name not in present
        }

    @property
    def names(self) -> list[str]:
        """The canonical names of the distributions."""
        return list(self._distributions)

    @property
    def foreign(self) -> list[importlib.metadata.Distribution]:
        """The distributions that are not this project's own."""
        return [
            found
            for name, found in self._distributions.items()
            if not name.startswith('guestagent')
        ]

    def check(self, pinned: dict[str, str]) -> None:
        """Compare the versions with those that the tree was tested with.

        :param pinned: canonical names and versions.
        :raises BundleError: one differs, or is not pinned.
        """
        for found in self.foreign:
            name = utils.canonicalize_name(found.name)
            if pinned.get(name) != found.version:
                raise BundleError(
                    f'{name} {found.version} is installed, but constraints.txt says '
                    f'{pinned.get(name, "nothing of it")}: run devstack/prepare test'
                )

    def copy(self, root: pathlib.Path, sources: dict[str, pathlib.Path]) -> None:
        """Write all files into their folder below ``root``.

        :param sources: where this project's own distributions have their source.
        """
        folder = root / self.folder.lstrip('/')
        for name, distribution in self._distributions.items():
            if name in sources:
                _copy_own(distribution, sources[name], folder)
            else:
                _copy_installed(distribution, folder)


def read_pins(constraints: pathlib.Path) -> dict[str, str]:
    """Return canonical names and versions of a file of ``name==version`` lines."""
    pins: dict[str, str] = {}
    for line in constraints.read_text().splitlines():
        name, equals, version = line.partition('==')
        if equals and not line.startswith('#'):
            pins[utils.canonicalize_name(name.strip())] = version.strip()
    return pins


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise BundleError(
            f'{name} is not installed: run devstack/prepare test'
        ) from None


def _requires(
    distribution: importlib.metadata.Distribution, extras: frozenset[str]
) -> list[requirements.Requirement]:
    unknown = extras - {*(distribution.metadata.get_all('Provides-Extra') or [])}
    if unknown:
        raise BundleError(
            f'{distribution.name} was installed without the extra '
            f'{", ".join(sorted(unknown))}: run devstack/prepare test'
        )
    found = []
    for text in distribution.requires or []:
        requirement = requirements.Requirement(text)
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({'extra': extra}) for extra in ('', *extras)
        ):
            found.append(requirement)
    return found


def _copy_installed(
    distribution: importlib.metadata.Distribution, folder: pathlib.Path
) -> None:
    for file in distribution.files or []:
        source = pathlib.Path(str(distribution.locate_file(file)))
        if _loads(file) and source.exists():
            _copy(source, folder / file)


def _loads(file: pathlib.PurePath) -> bool:
    if '..' in file.parts or '__pycache__' in file.parts:
        return False  # a script, or bytecode
    if file.parts[0].endswith('.dist-info'):
        return file.name not in _RECORDS
    return file.suffix not in _SUFFIXES and 'tests' not in file.parts


def _copy_own(
    distribution: importlib.metadata.Distribution,
    source: pathlib.Path,
    folder: pathlib.Path,
) -> None:
    """Copy from the tree: there only the metadata is installed."""
    packages = (distribution.read_text('top_level.txt') or '').split()
    if not packages:
        raise BundleError(f'{distribution.name} has no packages')
    for package in packages:
        for path in sorted((source / package).rglob('*')):
            file = path.relative_to(source)
            if path.is_file() and _loads(file):
                _copy(path, folder / file)
    stem = distribution.name.replace('-', '_')
    info = folder / f'{stem}-{distribution.version}.dist-info'
    info.mkdir(parents=True)
    for name in ('METADATA', 'entry_points.txt'):
        text = distribution.read_text(name)
        if text:
            (info / name).write_text(text)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
