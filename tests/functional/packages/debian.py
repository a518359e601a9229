# SPDX-License-Identifier: Apache-2.0
"""A minimal Debian tree, of this machine's own release and from its own mirror.

debootstrap makes it once; later runs unpack the archive that is kept below ``build``.
"""

import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence

from devstack import processes

ROOT = pathlib.Path(__file__).resolve().parents[3]

#: What no test needs: the tree is a third smaller without.
_DROPPED = (
    './usr/share/doc/*',
    './usr/share/locale/*',
    './usr/share/man/*',
    './var/cache/apt/*',
    './var/lib/apt/lists/*',
)

#: Everything that the packages depend on, so that they install without a network.
INCLUDED = ('adduser', 'python3', 'systemd', 'zstd')

_SOURCES = pathlib.Path('/etc/apt')


class Unavailable(Exception):
    """No tree can be made here; the text says why."""


class Tree:
    """The root of a system, in which commands run.

    Each command has a mount namespace of its own with ``/proc``, so that nothing stays
    mounted.

    :ivar path: where it is.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def copy(self, path: pathlib.Path) -> 'Tree':
        """Return a copy of it at ``path``, quickly: the files are hard links.

        dpkg replaces files and does not change them; :meth:`write` likewise.
        """
        subprocess.run(['cp', '-al', self.path, path], check=True)
        return Tree(path)

    def write(self, name: str, text: str, mode: int | None = None) -> None:
        """Write a file in it; an existing one's owner and mode are kept.

        :param mode: of a new file.
        """
        path = self.path / name
        if path.exists():
            old = path.stat()
            path.unlink()
            path.write_text(text)
            os.chown(path, old.st_uid, old.st_gid)
            path.chmod(stat.S_IMODE(old.st_mode))
        else:
            path.write_text(text)
        if mode is not None:
            path.chmod(mode)

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path)

    def command(self, *argv: str, network: bool = True) -> list[str]:
        """Return the command that runs ``argv`` in it."""
        script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        namespaces = ['--mount', *([] if network else ['--net'])]
        return ['unshare', *namespaces, 'sh', '-c', script, str(self.path), *argv]

    def run(self, *argv: str, network: bool = True, seconds: float = 300) -> str:
        """Run a command in it and return both outputs.

        :raises devstack.processes.Failed: its exit code is not 0.
        """
        done = subprocess.run(
            self.command(*argv, network=network),
            env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise processes.Failed(f'{" ".join(argv)}:\n{done.stdout}')
        return done.stdout

    def install(self, *packages: pathlib.Path) -> str:
        """Install packages with dpkg, without a network; return its output."""
        folder = self.path / 'srv/packages'
        folder.mkdir(parents=True)
        try:
            for package in packages:
                shutil.copy(package, folder)
            names = [f'/srv/packages/{package.name}' for package in packages]
            return self.run(
                'dpkg', '--install', '--force-confold', *names, network=False
            )
        finally:
            shutil.rmtree(folder)

    def files(self) -> set[str]:
        """Return all paths in it, without the leading slash."""
        return {
            os.path.relpath(os.path.join(folder, name), self.path)
            for folder, folders, files in os.walk(self.path)
            for name in (*folders, *files)
        }


def make(path: pathlib.Path) -> Tree:
    """Make a tree at ``path``.

    :raises Unavailable: this is not root, or debootstrap or its mirror is missing.
    """
    if os.geteuid() != 0:
        raise Unavailable('making a Debian tree needs root')
    return _unpack(path, _archive(), lambda archive: _bootstrap(path, archive))


def unpack(path: pathlib.Path, name: str, fill: Callable[[Tree], None]) -> Tree:
    """Make a tree at ``path`` to which ``fill`` has added something, once.

    :param name: of what was added; the archive is kept beside that of :func:`make`.
    :raises Unavailable: as :func:`make`, or ``fill`` could not.
    """
    base = _archive()

    def add(archive: pathlib.Path) -> None:
        tree = make(path)
        fill(tree)
        _pack(path, archive)

    if os.geteuid() != 0:
        raise Unavailable('making a Debian tree needs root')
    return _unpack(path, base.with_name(f'{base.stem}-{name}.tar'), add)


def _unpack(
    path: pathlib.Path, archive: pathlib.Path, fill: Callable[[pathlib.Path], None]
) -> Tree:
    """Unpack an archive, which is made first if need be, in the same place."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with open(archive.with_suffix('.lock'), 'w') as lock:
        # Another worker of the tests makes it just now.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            try:
                fill(archive)
            finally:
                shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    subprocess.run(['tar', '-xf', archive, '-C', path], check=True)
    return Tree(path)


def codename() -> str:
    """Return the name of this machine's release, or ``''``."""
    return platform.freedesktop_os_release().get('VERSION_CODENAME', '')


def mirrors(folder: pathlib.Path, suite: str) -> Iterator[str]:
    """Yield the addresses from which apt gets the main part of a release.

    :param folder: apt's: it has ``sources.list`` and ``sources.list.d``.
    """
    lists = [folder / 'sources.list', *sorted(folder.glob('sources.list.d/*.list'))]
    for path in lists:
        text = path.read_text() if path.exists() else ''
        for line in text.splitlines():
            match = re.match(r'deb\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)\s+(.*)', line)
            if match and match[2] == suite and 'main' in match[3].split():
                yield match[1]
    for path in sorted(folder.glob('sources.list.d/*.sources')):
        for stanza in re.split(r'\n\s*\n', path.read_text()):
            fields = {
                name.lower(): value.split()
                for name, value in re.findall(
                    r'^([A-Za-z-]+):((?:.*)(?:\n[ \t].*)*)', stanza, re.MULTILINE
                )
            }
            if (
                'deb' in fields.get('types', [])
                and fields.get('enabled') != ['no']
                and suite in fields.get('suites', [])
                and 'main' in fields.get('components', [])
            ):
                yield from fields.get('uris', [])


def _archive() -> pathlib.Path:
    """Return where the archive of the tree is kept: another list, another archive."""
    key = hashlib.sha256(' '.join((codename(), *INCLUDED)).encode()).hexdigest()[:12]
    return ROOT / 'build/debian' / f'{codename()}-{key}.tar'


def _bootstrap(path: pathlib.Path, archive: pathlib.Path) -> None:
    if shutil.which('debootstrap') is None:
        raise Unavailable('debootstrap is not installed')
    addresses = [
        address
        for address in mirrors(_SOURCES, codename())
        if re.match('(https?|file):', address)
    ]
    if not addresses:
        raise Unavailable(f'apt has no source of {codename() or "this release"}')
    command = ['debootstrap', '--variant=minbase', f'--include={",".join(INCLUDED)}']
    # What it mounts is gone with its namespace, however it ends.
    _run_bounded(
        ['unshare', '--mount', *command, codename(), str(path), addresses[0]], 150
    )
    _pack(path, archive)


def _pack(path: pathlib.Path, archive: pathlib.Path) -> None:
    partial = archive.with_suffix('.partial')
    subprocess.run(
        ['tar', '-cf', partial, '-C', path, *map('--exclude={}'.format, _DROPPED), '.'],
        check=True,
    )
    partial.rename(archive)


def _run_bounded(command: Sequence[str], seconds: float) -> None:
    """Run debootstrap, and end it with its children when it takes too long."""
    child = subprocess.Popen(
        command,
        env={**os.environ, **_proxy()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
        raise Unavailable(
            f'debootstrap took more than {seconds:g} s: {_last_line(output)}'
        ) from None
    if child.returncode != 0:
        raise Unavailable(f'debootstrap failed: {_last_line(output)}')


def _last_line(output: str) -> str:
    return output.strip().rpartition('\n')[2]


def proxy_words() -> list[str]:
    """Return the proxy that apt uses, as words for ``env``."""
    return [f'{name}={value}' for name, value in _proxy().items()]


def _proxy() -> dict[str, str]:
    """Return the proxy that apt uses, as debootstrap's own tools want it."""
    told = subprocess.run(
        ['apt-config', 'shell', 'proxy', 'Acquire::http::Proxy'],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    match = re.match("proxy='(.+)'", told)
    return {'http_proxy': match[1]} if match else {}
