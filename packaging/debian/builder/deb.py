# SPDX-License-Identifier: Apache-2.0
"""One Debian package: what it holds, and how that becomes a ``.deb`` file.

The same content and time give the same bytes: names are sorted, owners are root, and
times and modes are set here and not taken from where a file came from.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import time

from builder import bundle

_SCRIPTS = ('postinst', 'postrm', 'prerm')


@dataclasses.dataclass
class Package:
    """What is in a package.

    :ivar control: the control file, but for what is computed.
    :ivar python: its Python packages, if any.
    :ivar files: contents by path without the leading slash; those whose name ends in
        ``.gz`` are compressed.  Those in ``etc`` are configuration; what is in
        ``etc/guestagent`` is for root's and its group's eyes only.
    :ivar folders: empty folders, likewise.
    :ivar installs: a folder with a Makefile whose ``install`` adds more files.
    :ivar scripts: maintainer scripts and triggers by name.
    """

    name: str
    version: str
    control: str
    python: bundle.Bundle | None = None
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    folders: list[str] = dataclasses.field(default_factory=list)
    installs: pathlib.Path | None = None
    scripts: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Release:
    """What all packages of one build share.

    :ivar maintainer: name and address.
    :ivar epoch: the time of all files, in seconds.
    :ivar interpreter: the version of Python that compiled modules are for.
    :ivar architecture: Debian's name of this machine's.
    :ivar sources: this project's distributions and where their source is.
    """

    maintainer: str
    epoch: int
    interpreter: tuple[int, int]
    architecture: str
    sources: dict[str, pathlib.Path]


def build(
    package: Package, release: Release, work: pathlib.Path, output: pathlib.Path
) -> pathlib.Path:
    """Write the package below ``output`` and return its path.

    :param work: a folder for the tree; what is in it is removed.
    :raises subprocess.CalledProcessError: make or dpkg-deb failed.
    """
    root = work / package.name
    shutil.rmtree(root, ignore_errors=True)
    if package.python is not None:
        package.python.copy(root, release.sources)
    # Modules in C bind to one version of Python.
    bound = any(root.rglob('*.so'))
    if package.installs is not None:
        _install(package.installs, root)
    compiled = any(root.rglob('*.so'))
    architecture = release.architecture if compiled else 'all'
    _write_files(root, package, release)
    _set_modes(root)
    _write_control(root, package, release, architecture, bound)
    for path in [root, *root.rglob('*')]:
        os.utime(path, (release.epoch, release.epoch), follow_symlinks=False)
    deb = output / f'{package.name}_{package.version}_{architecture}.deb'
    subprocess.run(
        ['dpkg-deb', '-Zxz', '--root-owner-group', '--build', root, deb],
        env={**os.environ, 'SOURCE_DATE_EPOCH': str(release.epoch)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return deb


def _install(source: pathlib.Path, root: pathlib.Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    folder = root.with_name(f'{root.name}.build')
    shutil.rmtree(folder, ignore_errors=True)
    words = (f'BUILD={folder}', f'DESTDIR={root}', 'install')
    subprocess.run(['make', '--silent', '-C', source, *words], check=True)


def _write_files(root: pathlib.Path, package: Package, release: Release) -> None:
    for folder in package.folders:
        (root / folder).mkdir(parents=True)
    for name, text in package.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        path.write_bytes(_compress(data) if path.suffix == '.gz' else data)
    documents = root / 'usr/share/doc' / package.name
    documents.mkdir(parents=True, exist_ok=True)
    (documents / 'copyright').write_text(_copyright(package, release))
    log = (
        f'{package.name} ({package.version}) unstable; urgency=medium\n\n'
        '  * The release notes of guestagent tell what is new.\n\n'
        f' -- {release.maintainer}  '
        f'{time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(release.epoch))}\n'
    )
    (documents / 'changelog.Debian.gz').write_bytes(_compress(log.encode()))


def _compress(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _copyright(package: Package, release: Release) -> str:
    year = time.gmtime(release.epoch).tm_year
    text = (
        'guestagent and its extensions\n'
        f'Copyright {year} the guestagent developers\n'
        'License: Apache-2.0, on Debian systems in '
        '/usr/share/common-licenses/Apache-2.0\n'
    )
    if package.python is not None:
        for found in package.python.foreign:
            text += _licence(found, package.python.folder)
    return text


def _licence(found: importlib.metadata.Distribution, folder: str) -> str:
    metadata = found.metadata
    licence = 'see there'
    for field in ('License', 'License-Expression'):
        if metadata[field]:
            licence = metadata[field].splitlines()[0]
    stem = re.sub(r'[-_.]+', '_', found.name)
    return (
        f'\n{found.name} {found.version}\n'
        f'Copyright: its authors; see {folder}/{stem}-{found.version}.dist-info\n'
        f'License: {licence}\n'
    )


def _set_modes(root: pathlib.Path) -> None:
    root.chmod(0o755)
    for path in root.rglob('*'):
        is_executable = path.parent.name in ('bin', 'runtime.d')
        if path.parent == root / 'etc/guestagent':
            # What is put there later is for the service's eyes, too.
            path.chmod(0o2750 if path.is_dir() else 0o640)
        else:
            path.chmod(0o755 if path.is_dir() or is_executable else 0o644)


def _write_control(
    root: pathlib.Path,
    package: Package,
    release: Release,
    architecture: str,
    bound: bool,
) -> None:
    files = sorted(path for path in root.rglob('*') if path.is_file())
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    names = [str(path.relative_to(root)) for path in files]
    folder = root / 'DEBIAN'
    folder.mkdir()
    fields = (
        f'Version: {package.version}\n'
        f'Architecture: {architecture}\n'
        f'Maintainer: {release.maintainer}\n'
        f'Installed-Size: {size}\n'
        'Priority: optional\n'
    )
    head, line, rest = package.control.partition('Description:')
    control = head + fields + line + rest
    (folder / 'control').write_text(
        control.replace('@PYTHON@', _depends(release.interpreter, bound))
    )
    conffiles = [name for name in names if name.startswith('etc/')]
    if conffiles:
        (folder / 'conffiles').write_text(''.join(f'/{name}\n' for name in conffiles))
    (folder / 'md5sums').write_text(
        ''.join(
            f'{hashlib.md5(path.read_bytes()).hexdigest()}  {name}\n'
            for path, name in zip(files, names, strict=True)
            if name not in conffiles
        )
    )
    for name, text in package.scripts.items():
        (folder / name).write_text(text)
    for path in folder.iterdir():
        path.chmod(0o755 if path.name in _SCRIPTS else 0o644)
    folder.chmod(0o755)


def _depends(interpreter: tuple[int, int], bound: bool) -> str:
    """Return the dependency on Python: modules in C bind to one version of it."""
    if not bound:
        return 'python3:any (>= 3.11)'
    major, minor = interpreter
    return f'python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), libc6'
