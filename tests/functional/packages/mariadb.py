# SPDX-License-Identifier: Apache-2.0
"""A Debian tree in which apt finds MariaDB's packages, and newer ones, with no network.

What these packages need is installed in it already.  They are Debian's own; what is
newer is made of them with dpkg's tools.
"""

import hashlib
import pathlib
import re
import shutil
import subprocess

from devstack import processes
from tests.functional.packages import debian

#: Those of the server, which a test installs.
PACKAGES = ('mariadb-server', 'mariadb-backup')

_FOLDER = 'srv/packages-of-mariadb'
_SOURCE = f'deb [trusted=yes] file:/{_FOLDER} ./\n'
_APT = ('apt-get', '--yes', '--no-install-recommends')


def make(path: pathlib.Path) -> debian.Tree:
    """Make a tree at ``path``.

    :raises guestagent.tests.functional.packages.debian.Unavailable: none can be made
        here, or apt has no MariaDB.
    """
    return debian.unpack(path, 'mariadb', _fill)


def _fill(tree: debian.Tree) -> None:
    """Get the packages once, and install what they need."""
    shutil.copy('/etc/resolv.conf', tree.path / 'etc/resolv.conf')
    archives = tree.path / 'var/cache/apt/archives'
    # The tests are not about disks that lose their power.
    tree.write('etc/dpkg/dpkg.cfg.d/quick', 'force-unsafe-io\n')
    try:
        tree.run('env', *debian.proxy_words(), 'apt-get', 'update')
        tree.run(
            *('env', *debian.proxy_words(), *_APT, '--download-only', 'install'),
            *PACKAGES,
        )
    except processes.Failed as error:
        raise debian.Unavailable(f'apt cannot get MariaDB: {error}') from None
    folder = tree.path / _FOLDER
    folder.mkdir()
    for package in archives.glob('mariadb-*.deb'):
        if not package.name.startswith('mariadb-common'):
            package.rename(folder / package.name)
    others = [f'/var/cache/apt/archives/{path.name}' for path in archives.glob('*.deb')]
    quiet = ('env', 'DEBIAN_FRONTEND=noninteractive')
    tree.run(*quiet, *_APT, 'install', *others, network=False)
    tree.write('etc/apt/sources.list', _SOURCE)
    index(tree)


def index(tree: debian.Tree) -> None:
    """Let apt find all that is in the folder."""
    folder = tree.path / _FOLDER
    entries = [_entry(package) for package in sorted(folder.glob('*.deb'))]
    tree.write(f'{_FOLDER}/Packages', '\n'.join(entries))


def publish_newer(tree: debian.Tree, broken: bool = False) -> str:
    """Make the server's packages anew with a higher version; return that.

    :param broken: the one that is unpacked last says no.
    """
    folder = tree.path / _FOLDER
    version = ''
    for name in ('mariadb-server-core', 'mariadb-server'):
        newest = max(
            folder.glob(f'{name}_*.deb'), key=lambda path: path.stat().st_mtime
        )
        work = tree.path / 'srv/repacked'
        subprocess.run(['dpkg-deb', '--raw-extract', newest, work], check=True)
        control = work / 'DEBIAN/control'
        text = control.read_text()
        [old] = re.findall('^Version: (.*)$', text, re.MULTILINE)
        version = f'{old}+newer'
        text = text.replace(f'\nVersion: {old}\n', f'\nVersion: {version}\n')
        needed = f'mariadb-server-core (>= {old})'
        control.write_text(text.replace(needed, f'mariadb-server-core (>= {version})'))
        if broken and name == 'mariadb-server':
            (work / 'DEBIAN/preinst').write_text('#!/bin/sh\necho no room; exit 1\n')
        target = folder / f'{name}_{version.replace(":", "%3a")}.deb'
        # Quickly: nobody keeps it.
        subprocess.run(
            ['dpkg-deb', '-Znone', '--build', work, target],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        shutil.rmtree(work)
    index(tree)
    return version


def withdraw(tree: debian.Tree, version: str) -> None:
    """Have a version that is no good no more."""
    for package in (tree.path / _FOLDER).glob(f'*_{version.replace(":", "%3a")}.deb'):
        package.unlink()
    index(tree)


def installed(tree: debian.Tree, name: str = 'mariadb-server') -> str:
    """Return the version and the state of a package, as dpkg has them."""
    return tree.run('dpkg-query', '-W', '-f', '${Version} ${db:Status-Abbrev}', name)


def _entry(package: pathlib.Path) -> str:
    control = subprocess.run(
        ['dpkg-deb', '--field', package], stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return (
        f'{control}Filename: ./{package.name}\n'
        f'Size: {package.stat().st_size}\nSHA256: {digest}\n'
    )
