# SPDX-License-Identifier: Apache-2.0
"""The extension of doc/extensions.rst, installed and called as the page says."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.functional
def test_the_tutorial_works(tmp_path, agent, conductor, guestctl):
    source = tmp_path / 'uptime'
    packages = tmp_path / 'packages'
    source.mkdir()
    for file in (ROOT / 'doc/tutorial/uptime').iterdir():
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
            packages,
            source,
        ],
        check=True,
        capture_output=True,
    )
    conductor()

    guest = agent(extensions='uptime', packages=packages)

    called = guestctl('call', guest.instance, 'uptime.read')
    assert called.returncode == 0, called.stderr
    seconds = json.loads(called.stdout)['seconds']
    now = float(pathlib.Path('/proc/uptime').read_text().split()[0])
    assert 0 <= now - seconds < 60
    shown = guestctl('extension', 'show', guest.instance, 'uptime')
    assert 'Return the seconds since boot.' in shown.stdout
