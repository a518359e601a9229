# SPDX-License-Identifier: Apache-2.0
"""Virtual environments: ours as an operator has it, and one for each peer.

They are made by the Python that runs the benchmarks, below ``build/bench``, and made
again when what they are made of changes.
"""

import hashlib
import json
import logging
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

LOG = logging.getLogger(__name__)

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'build' / 'bench'
CONSTRAINTS = ROOT / 'constraints.txt'

#: What makes up our agent: the distribution of the core, and one for each extension.
OURS = (
    ROOT,
    ROOT / 'extensions' / 'exec',
    ROOT / 'extensions' / 'monitoring',
    ROOT / 'extensions' / 'ovirt',
    ROOT / 'extensions' / 'sso',
    ROOT / 'tests' / 'benchmarks' / 'echo',
)
#: Under Trove.
TROVE = (ROOT, ROOT / 'extensions' / 'datastore', ROOT / 'extensions' / 'trove')
#: The program that stands for qemu-ga, with all that it can do.
QGA = (
    ROOT,
    *(
        ROOT / 'extensions' / name
        for name in (
            *('qga', 'exec', 'file', 'fsfreeze', 'power', 'hardware', 'accounts'),
            'monitoring',
        )
    ),
)
#: B cannot do without the extra: oslo.service's threading backend is in it.
PEERS = {'A': ('oslo.messaging',), 'B': ('oslo.messaging', 'oslo.service[threading]')}
_CORE_FILES = ('guestagent', 'README.rst', 'pyproject.toml', 'setup.cfg')

_VERSIONS = """
import importlib.metadata, json
print(json.dumps({each.name.lower(): each.version
                  for each in importlib.metadata.distributions()}))
"""


class BadEnvironment(Exception):
    """A virtual environment could not be made, or is not what is compared."""


class Environment:
    """A virtual environment.

    :ivar path: its folder.
    :ivar versions: of all distributions in it, by name.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.versions: dict[str, str] = json.loads(
            _run([str(self.program('python')), '-I', '-c', _VERSIONS])
        )

    def program(self, name: str) -> pathlib.Path:
        """Return the path of a program in it."""
        return self.path / 'bin' / name

    def check(self, has: Sequence[str], lacks: Sequence[str]) -> None:
        """Make sure of what decides the figures.

        :raises BadEnvironment: something is missing, or there and must not be.
        """
        wrong = [f'{name} is missing' for name in has if name not in self.versions]
        wrong += [
            f'{name} must not be there' for name in lacks if name in self.versions
        ]
        if wrong:
            raise BadEnvironment(
                f'{self.path}: {", ".join(wrong)}; remove the folder and run again'
            )


def peer(kind: str) -> Environment:
    """Return the environment of peer A or B: oslo.messaging and what it needs.

    ``cryptography``, which eventlet's dnspython imports where it is there, would make
    the peer 8 MiB larger and every ratio better than it is.

    :raises BadEnvironment: it cannot be made.
    """
    path = FOLDER / f'peer-{kind.lower()}-venv'
    packages = PEERS[kind]
    stamp = _digest([], *packages)
    if _stale(path, stamp):
        _make(path, packages, stamp)
    environment = Environment(path)
    environment.check(has=('oslo.messaging', 'eventlet'), lacks=('cryptography',))
    return environment


def ours() -> Environment:
    """Return the environment of the agent: installed, compiled, nothing editable.

    :raises BadEnvironment: it cannot be made.
    """
    return _installed(
        'ours-venv',
        OURS,
        ('guestagent', 'guestagent-exec', 'guestagent-monitoring', 'guestagent-echo'),
    )


def trove() -> Environment:
    """Return that of the agent as an image of Trove's has it.

    :raises BadEnvironment: it cannot be made.
    """
    return _installed(
        'trove-venv', TROVE, ('guestagent', 'guestagent-datastore', 'guestagent-trove')
    )


def qga() -> Environment:
    """Return that of ``guestagent-qga``.

    :raises BadEnvironment: it cannot be made.
    """
    return _installed('qga-venv', QGA, ('guestagent', 'guestagent-qga'))


def _installed(
    name: str, distributions: Sequence[pathlib.Path], has: Sequence[str]
) -> Environment:
    """Return an environment with the core, which comes first, and extensions."""
    path = FOLDER / name
    stamp = _digest(distributions)
    if _stale(path, stamp):
        # Built from a copy: setuptools leaves folders in the tree that it builds,
        # and would install a module again that is no longer there.
        copies = FOLDER / 'source'
        shutil.rmtree(copies, ignore_errors=True)
        sources = [
            _copy(source, copies / str(number))
            for number, source in enumerate(distributions)
        ]
        # What seals costs nothing where there are no keys.
        wanted = [f'{sources[0]}[seal]', *map(str, sources[1:])]
        _make(path, wanted, stamp)
        shutil.rmtree(copies)
    environment = Environment(path)
    environment.check(has=has, lacks=('oslo.messaging', 'oslo.service', 'eventlet'))
    return environment


def _files(source: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of a distribution that decide what is installed."""
    places = [source / name for name in _CORE_FILES] if source == ROOT else [source]
    found = [place for place in places if place.is_file()]
    for place in places:
        found += [
            path
            for path in place.rglob('*')
            if path.is_file() and not _made(path.relative_to(source))
        ]
    return sorted(found)


def _made(path: pathlib.Path) -> bool:
    """Whether a build or an import made the file."""
    return any(
        part in ('build', '__pycache__') or part.endswith('.egg-info')
        for part in path.parts
    )


def _copy(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    for path in _files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return target


def _digest(sources: Sequence[pathlib.Path], *packages: str) -> str:
    """Return what changes whenever the environment must be made again."""
    digest = hashlib.sha256(repr((sys.version, packages)).encode())
    files = [path for source in sources for path in _files(source)]
    for path in [CONSTRAINTS, *files]:
        if path.exists():
            digest.update(str(path.relative_to(ROOT)).encode() + b'\0')
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _stale(path: pathlib.Path, stamp: str) -> bool:
    file = path / 'made-of'
    return not file.exists() or file.read_text() != stamp


def _make(path: pathlib.Path, packages: Sequence[str], stamp: str) -> None:
    LOG.info('making %s', path)
    shutil.rmtree(path, ignore_errors=True)
    _run([sys.executable, '-m', 'venv', str(path)])
    pinned = ['--constraint', str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    _run([str(path / 'bin' / 'pip'), 'install', *pinned, *packages])
    (path / 'made-of').write_text(stamp)


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BadEnvironment(
            f'{" ".join(argv)} ended with {done.returncode}:\n'
            f'{done.stdout[-2000:]}{done.stderr[-2000:]}'
        )
    return done.stdout
