# SPDX-License-Identifier: Apache-2.0
"""Let atheris look for input that breaks a promise, guided by the code's branches.

::

    python tests/fuzz/run.py [--seconds 60 | --runs 1000] [--found FOLDER] [NAME ...]

Each target runs in a process of its own.  What it finds is put into ``--found``; with
``--keep``, what opens new branches is added to ``tests/fuzz/corpus``.  With ``--runs``
the inputs are the same each time, as long as the code is.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from tests.fuzz import registry

#: How large an input is at most, in bytes.
SIZE = 4096


def main() -> int:
    """Run the targets one after the other; return 1 if something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    much = parser.add_mutually_exclusive_group()
    much.add_argument('--seconds', type=int, default=60, help='for each target')
    much.add_argument('--runs', type=int, help='inputs for each target')
    parser.add_argument('--found', type=pathlib.Path, default=ROOT / 'build/fuzz')
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('name', nargs='*')
    options = parser.parse_args()
    import atheris

    # Once for all: it is most of a short run.
    with atheris.instrument_imports(include=['guestagent', 'json']):
        from tests.fuzz import registry

        targets = registry.load()

    options.found.mkdir(parents=True, exist_ok=True)
    names = options.name or list(targets)
    failed = [name for name in names if not _run(name, targets[name], options)]
    return 1 if failed else 0


def _run(name: str, target: registry.Target, options: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        seeds = work / 'seeds'
        seeds.mkdir()
        for number, data in enumerate(target.inputs()):
            (seeds / f'seed-{number}').write_bytes(data)
        new = target.corpus if options.keep else work / 'new'
        new.mkdir(parents=True, exist_ok=True)
        found = options.found / name
        flags = [f'-max_len={SIZE}', f'-artifact_prefix={found}-']
        if options.runs:
            flags += [f'-runs={options.runs}', '-seed=1']
        else:
            flags += [f'-max_total_time={options.seconds}']
        log = work / 'log'
        arguments = [*flags, str(new), str(seeds)]
        function = _keep(target.function, found)
        good = _fork(log, lambda: _fuzz(function, arguments))
        print(f'{name}: {"no promise was broken" if good else "FAILED"}', flush=True)
        if not good:
            print(log.read_text(errors='replace')[-4000:], flush=True)
    return good


def _keep(function: registry.Function, found: pathlib.Path) -> registry.Function:
    """Return a target that writes down what it fails on: libFuzzer does not always."""

    def run(data: bytes) -> None:
        try:
            function(data)
        except BaseException:
            pathlib.Path(f'{found}-failed').write_bytes(data)
            raise

    return run


def _fork(log: pathlib.Path, function: Callable[[], None]) -> bool:
    """Call a function in a child whose stderr goes to a file; say if it ended well."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    with log.open('wb') as file:
        os.dup2(file.fileno(), 2)
    try:
        function()
    finally:
        os._exit(1)  # Not reached: libFuzzer ends the process.


def _fuzz(function: registry.Function, arguments: list[str]) -> None:
    import atheris

    atheris.Setup([sys.argv[0], *arguments], function)
    atheris.Fuzz()


if __name__ == '__main__':
    sys.exit(main())
