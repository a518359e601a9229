# SPDX-License-Identifier: Apache-2.0
"""What the preparation asks of the system, on a machine that has little."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]

#: All that there is on the machine, but for a python3 that does nothing well.
PROGRAMS = ('sh', 'cat', 'dirname', 'grep', 'id', 'sha256sum')

UNSHARE = ('unshare', '--map-root-user', '--mount')

#: Where RabbitMQ is, there is nothing.
HIDE = 'mount -t tmpfs none /usr/lib/rabbitmq && exec "$@"'


pytestmark = pytest.mark.skipif(
    subprocess.run([*UNSHARE, 'true'], capture_output=True, check=False).returncode,
    reason='this user may make no mount namespace',
)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """The files that the script reads, and a folder of programs."""
    for name in ('devstack/prepare', 'setup.cfg', 'constraints.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / 'extensions/exec', tmp_path / 'extensions/exec')
    programs = tmp_path / 'programs'
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(shutil.which(name) or name)
    python = programs / 'python3'
    python.write_text('#!/bin/sh\nexit 0\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ('wanted', 'bus', 'said'),
    [
        ('run', None, 'making the virtual environment .venv'),
        ('run', 'hub', 'making the virtual environment .venv'),
        ('run', 'rabbit', 'devstack: missing: rabbitmq-server'),
        ('test', None, 'devstack: missing: rabbitmq-server'),
    ],
)
def test_a_broker_is_asked_for_only_where_it_is_needed(
    tree: pathlib.Path, wanted: str, bus: str | None, said: str
) -> None:
    env = {key: value for key, value in os.environ.items() if key != 'BUS'}
    prepare = ('env', f'PATH={tree / "programs"}', tree / 'devstack/prepare', wanted)
    done = subprocess.run(
        [*UNSHARE, 'sh', '-c', HIDE, 'sh', *prepare],
        env={**env, 'BUS': bus} if bus else env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said in done.stderr
    assert ('rabbitmq' in done.stderr) == ('rabbitmq' in said)
