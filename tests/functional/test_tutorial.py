# SPDX-License-Identifier: Apache-2.0
"""The extension of doc/extensions.rst, installed, tested and called as it says."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
TUTORIAL = HERE.parents[1] / 'doc/tutorial/uptime'


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """The folder into which the extension is installed."""
    folder = tmp_path_factory.mktemp('tutorial')
    source = folder / 'uptime'
    source.mkdir()
    for file in TUTORIAL.iterdir():
        if file.is_file():
            (source / file.name).write_text(file.read_text())
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '--no-deps',
            '--target',
            folder / 'packages',
            source,
        ],
        check=True,
        capture_output=True,
    )
    return folder / 'packages'


@pytest.mark.functional
def test_the_tutorial_works(packages, agent, conductor, guestctl):
    conductor()

    # The tests' own extension beside it: its section is in each agent's file.
    guest = agent(
        extensions='uptime', packages=f'{HERE / "probe"}{os.pathsep}{packages}'
    )

    called = guestctl('call', guest.instance, 'uptime.read')
    assert called.returncode == 0, called.stderr
    seconds = json.loads(called.stdout)['seconds']
    now = float(pathlib.Path('/proc/uptime').read_text().split()[0])
    assert 0 <= now - seconds < 60
    shown = guestctl('extension', 'show', guest.instance, 'uptime')
    assert 'Return the seconds since boot.' in shown.stdout


def test_its_own_test_passes(packages):
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pytest',
            '-q',
            '--rootdir',
            TUTORIAL,
            '-c',
            TUTORIAL / 'pyproject.toml',
            '-p',
            'no:cacheprovider',
            TUTORIAL,
        ],
        env={**os.environ, 'PYTHONPATH': str(packages), 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 passed' in done.stdout
