# SPDX-License-Identifier: Apache-2.0
"""Let atheris look for input that breaks a promise, guided by the code's branches.

::

    python tests/fuzz/run.py [--seconds 60] [--found FOLDER] [NAME ...]

Each target runs in a process of its own.  What it finds is put into ``--found``; with
``--keep``, what opens new branches is added to ``tests/fuzz/corpus``.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

#: How large an input is at most, in bytes.
SIZE = 4096

#: Says that this process is to fuzz; what follows is libFuzzer's.
_ONE = '--one'


def main() -> int:
    """Run the targets one after the other; return 1 if something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--seconds', type=int, default=60, help='for each target')
    parser.add_argument('--found', type=pathlib.Path, default=ROOT / 'build/fuzz')
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('name', nargs='*')
    options = parser.parse_args()
    from tests.fuzz import targets

    options.found.mkdir(parents=True, exist_ok=True)
    names = options.name or list(targets.TARGETS)
    failed = [name for name in names if not _run(name, options)]
    return 1 if failed else 0


def _run(name: str, options: argparse.Namespace) -> bool:
    from tests.fuzz import targets

    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for number, data in enumerate(targets.inputs(name)):
            (work / f'seed-{number}').write_bytes(data)
        new = targets.CORPUS / name if options.keep else work / 'new'
        new.mkdir(parents=True, exist_ok=True)
        flags = [
            f'-max_total_time={options.seconds}',
            f'-max_len={SIZE}',
            f'-artifact_prefix={options.found}/{name}-',
        ]
        done = subprocess.run(
            [sys.executable, __file__, _ONE, name, *flags, new, work],
            stderr=subprocess.PIPE,
            text=True,
            errors='replace',
            check=False,
        )
    good = done.returncode == 0
    print(f'{name}: {"no promise was broken" if good else "FAILED"}', flush=True)
    if not good:
        print(done.stderr[-4000:], flush=True)
    return good


def fuzz(name: str, *flags: str) -> int:
    """Feed one target until the time is over; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=['guestagent', 'json']):
        from tests.fuzz import targets
    function = targets.TARGETS[name].function
    atheris.Setup([sys.argv[0], *flags], function)
    atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(fuzz(*sys.argv[2:]) if sys.argv[1:2] == [_ONE] else main())
