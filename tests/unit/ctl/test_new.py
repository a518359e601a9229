# SPDX-License-Identifier: Apache-2.0
"""The package that guestctl writes: its test passes where it is installed."""

import argparse
import importlib.metadata
import os
import subprocess
import sys

import pytest

from guestagent.ctl import new


@pytest.fixture
def run(ctl):
    return lambda *argv: ctl('extension', 'new', *map(str, argv))


def python(*argv, path=()):
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_package_installs_and_its_test_passes(tmp_path, run):
    ended = run('disk-watch', '--dir', tmp_path / 'new')
    assert ended.code == 0
    folder = tmp_path / 'new/guestagent-disk-watch'
    assert f'pytest {folder}' in ended.out.decode()

    target = tmp_path / 'target'
    installed = python(
        '-m', 'pip', 'install', '-q', '--no-deps',
        '--target', target, folder,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    [entry] = [
        entry
        for found in importlib.metadata.distributions(path=[str(target)])
        for entry in found.entry_points
    ]
    assert (entry.group, entry.name) == ('guestagent.extensions', 'disk-watch')
    assert entry.value == 'guestagent_disk_watch.extension:DiskWatch'

    # Where its source is not: what is tested is what was installed.
    tested = python(
        '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--import-mode=importlib',
        '--rootdir', folder, '-c', folder / 'pyproject.toml', folder / 'tests',
        path=[target],
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert '3 passed' in tested.stdout


def test_what_is_there_is_not_overwritten(tmp_path, run):
    assert run('weather', '--dir', tmp_path).code == 0
    again = run('weather', '--dir', tmp_path)
    assert again.code == 1
    assert 'is there already' in again.err


def test_a_folder_that_cannot_be_made_is_named(tmp_path, run):
    (tmp_path / 'file').write_text('')
    ended = run('weather', '--dir', tmp_path / 'file')
    assert ended.code == 1
    assert 'cannot be written' in ended.err


@pytest.mark.parametrize(
    'name', ['', 'Weather', '9lives', 'a--b', 'a-', 'none', 'a.b', '../x', 'agent']
)
def test_a_name_that_cannot_be_is_refused(name):
    with pytest.raises(argparse.ArgumentTypeError, match=r'cannot be|the agent.s own'):
        new._name(name)
