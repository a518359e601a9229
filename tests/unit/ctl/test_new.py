# SPDX-License-Identifier: Apache-2.0
"""The package that guestctl writes: its test passes where it is installed."""

import argparse
import importlib.metadata
import os
import subprocess
import sys

import pytest

from guestagent.ctl import app, new


def run(*argv):
    return app.main(['extension', 'new', *map(str, argv)])


def python(*argv, path=()):
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_package_installs_and_its_test_passes(tmp_path, capsys):
    assert run('disk-watch', '--dir', tmp_path / 'new') == 0
    folder = tmp_path / 'new/guestagent-disk-watch'
    assert f'pytest {folder}' in capsys.readouterr().out

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


def test_what_is_there_is_not_overwritten(tmp_path, capsys):
    assert run('weather', '--dir', tmp_path) == 0
    assert run('weather', '--dir', tmp_path) == 1
    assert 'is there already' in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert run('weather', '--dir', tmp_path / 'file') == 1
    assert 'cannot be written' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name', ['', 'Weather', '9lives', 'a--b', 'a-', 'none', 'a.b', '../x', 'agent']
)
def test_a_name_that_cannot_be_is_refused(name):
    with pytest.raises(argparse.ArgumentTypeError, match=r'cannot be|the agent.s own'):
        new._name(name)
