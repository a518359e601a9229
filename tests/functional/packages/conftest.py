# SPDX-License-Identifier: Apache-2.0
"""The Debian packages, built once, and a Debian tree that has them installed."""

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.functional.packages import debian

#: Stands in for systemd's own, which a chroot cannot ask: it writes down what it was
#: told, enables what is new, and says that all is enabled and active.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/var/log/systemctl
case $* in
    *' preset '*)
        for unit; do :; done
        cd /etc/systemd/system/multi-user.target.wants
        ln -s "/usr/lib/systemd/system/$unit" .
        ;;
esac
echo enabled
"""


def run_build(
    output: pathlib.Path, *arguments: str, umask: int = 0o022
) -> 'subprocess.CompletedProcess[str]':
    """Run what packaging/debian/build runs when .venv is there."""
    return subprocess.run(
        [sys.executable, '-m', 'builder', '--output', output, *arguments],
        env={
            **os.environ,
            'PYTHONPATH': str(debian.ROOT / 'packaging/debian'),
            'SOURCE_DATE_EPOCH': '1750000000',
            # Only the size of the packages, and the time, depend on it.
            'DPKG_DEB_COMPRESSOR_LEVEL': '0',
        },
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )


def build(output: pathlib.Path, *arguments: str, umask: int = 0o022) -> None:
    """Build packages, or fail."""
    done = run_build(output, *arguments, umask=umask)
    assert done.returncode == 0, done.stderr


def check_python(tree: debian.Tree) -> None:
    """Skip where packages made here, whose modules are compiled, are not for it."""
    python = os.readlink(tree.path / 'usr/bin/python3')
    # tox has several.
    if python != f'python{sys.version_info.major}.{sys.version_info.minor}':
        tree.remove()
        pytest.skip(f'packages made here are not for {debian.codename()}: {python}')


@dataclasses.dataclass
class Installed:
    """A tree with all packages.

    :ivar tree: the tree.
    :ivar before: the files that it had without them.
    """

    tree: debian.Tree
    before: set[str]

    def told(self) -> str:
        """Return what systemctl was told since the last call."""
        log = self.tree.path / 'var/log/systemctl'
        text = log.read_text() if log.exists() else ''
        log.unlink(missing_ok=True)
        return text


@pytest.fixture(scope='session')
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """All packages of this tree, by name."""
    output = tmp_path_factory.mktemp('packages')
    build(output)
    return {path.name.partition('_')[0]: path for path in output.glob('*.deb')}


@pytest.fixture(scope='session')
def pristine(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Installed]:
    """A Debian tree with all packages, just installed."""
    try:
        tree = debian.make(tmp_path_factory.mktemp('debian') / 'root')
    except debian.Unavailable as error:
        pytest.skip(str(error))
    check_python(tree)
    (tree.path / 'run/systemd/system').mkdir(parents=True)
    tree.write('usr/bin/systemctl', SYSTEMCTL, 0o755)
    installed = Installed(tree, tree.files())
    tree.install(*request.getfixturevalue('packages').values())
    yield installed
    tree.remove()


@pytest.fixture
def installed(pristine: Installed, tmp_path: pathlib.Path) -> Iterator[Installed]:
    """All packages, just installed, in a tree for one test."""
    tree = pristine.tree.copy(tmp_path / 'root')
    yield Installed(tree, pristine.before)
    tree.remove()
