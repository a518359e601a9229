# SPDX-License-Identifier: Apache-2.0
"""``python -m builder``: build all packages; its user's form is packaging/debian/build.

Exit codes: 0, or 1 with one line that says what is wrong.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys

from builder import bundle, catalogue, deb


def main() -> int:
    """Build the packages that the arguments ask for and print their paths."""
    parser = argparse.ArgumentParser(
        prog='packaging/debian/build',
        description='Build the Debian packages of the core and of each extension.',
    )
    parser.add_argument(
        '--output',
        type=pathlib.Path,
        default=catalogue.ROOT / 'build/packages',
        help='the folder for them (default: build/packages)',
    )
    parser.add_argument(
        '--revision', default='1', help="the last part of their versions (default: '1')"
    )
    parser.add_argument(
        '--only', action='append', metavar='PACKAGE', help='build this one; repeatable'
    )
    try:
        for path in _build(parser.parse_args()):
            print(path)
    except subprocess.CalledProcessError as error:
        # What it has to say it said.
        print(f'{parser.prog}: {error.cmd[0]} failed', file=sys.stderr)
        return 1
    except (bundle.BundleError, OSError) as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 1
    return 0


def _build(arguments: argparse.Namespace) -> list[pathlib.Path]:
    epoch = _epoch()
    work = arguments.output / 'tree'
    work.mkdir(parents=True, exist_ok=True)
    plan = catalogue.Catalogue(arguments.revision, _manual(work / 'manual', epoch))
    packages = [
        package
        for package in plan.packages()
        if arguments.only is None or package.name in arguments.only
    ]
    unknown = {*(arguments.only or [])} - {package.name for package in packages}
    if unknown:
        raise bundle.BundleError(f'there is no package {", ".join(sorted(unknown))}')
    pins = bundle.read_pins(catalogue.ROOT / 'constraints.txt')
    for package in packages:
        if package.python is not None:
            package.python.check(pins)
    release = deb.Release(
        maintainer=_maintainer(),
        epoch=epoch,
        interpreter=(sys.version_info.major, sys.version_info.minor),
        architecture=_output('dpkg', '--print-architecture'),
        sources=plan.sources,
    )
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(
            pool.map(
                lambda package: deb.build(package, release, work, arguments.output),
                packages,
            )
        )


def _manual(folder: pathlib.Path, epoch: int) -> pathlib.Path:
    """Build the manual pages and return their folder."""
    subprocess.run(
        [catalogue.ROOT / 'packaging/manual', folder],
        env={
            **os.environ,
            'PYTHON': sys.executable,
            'SOURCE_DATE_EPOCH': str(epoch),
            # The date of the pages is in it.
            'TZ': 'UTC',
        },
        check=True,
    )
    return folder


def _maintainer() -> str:
    """Return who builds, in the variables that Debian's own tools read."""
    name = os.environ.get('DEBFULLNAME', 'guestagent developers')
    return f'{name} <{os.environ.get("DEBEMAIL", "root@localhost")}>'


def _epoch() -> int:
    """Return the time that all files get: that of the commit, unless told."""
    given = os.environ.get('SOURCE_DATE_EPOCH')
    if given is None:
        try:
            given = _output(
                'git', '-C', str(catalogue.ROOT), 'log', '-1', '--format=%ct'
            )
        except subprocess.CalledProcessError:
            given = ''
    if not given.isdecimal():
        raise bundle.BundleError(
            'the time of the files is unknown: this is no git repository; '
            'set SOURCE_DATE_EPOCH to seconds since 1970'
        )
    return int(given)


def _output(*command: str) -> str:
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


if __name__ == '__main__':
    sys.exit(main())
