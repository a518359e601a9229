# SPDX-License-Identifier: Apache-2.0
"""What a test needs whose agent becomes another user than root."""

import pathlib
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from devstack import stack

ROOT = pathlib.Path(__file__).parents[2]

#: Accounts that every system has.
AGENT, OTHER = 'daemon', 'nobody'
AS_AGENT: Any = {'user': AGENT, 'group': AGENT, 'extra_groups': []}


def install(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Make the agent that :mod:`devstack.stack` starts one that others can run, too.

    :param folder: where other users can get into.
    :returns: its program.
    """
    script = folder / 'guestagent'
    places = [ROOT, ROOT / 'extensions/exec', sysconfig.get_path('purelib')]
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{":".join(map(str, places))}" '
        f'exec {_python()} -m guestagent.cmd.agent "$@"\n'
    )
    script.chmod(0o755)
    own = stack.script
    monkeypatch.setattr(
        stack, 'script', lambda name: script if name == 'guestagent' else own(name)
    )
    return script


def _python() -> str:
    for python in (sys.executable, f'/usr/bin/python3.{sys.version_info.minor}'):
        try:
            subprocess.run([python, '-c', 'import ctypes'], check=True, **AS_AGENT)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip('no Python here that others than root can run')


def field(pid: int | str, name: str) -> list[str]:
    """Return a field of what the kernel says of a process."""
    text = pathlib.Path(f'/proc/{pid}/status').read_text()
    [line] = [line for line in text.splitlines() if line.startswith(f'{name}:')]
    return line.split()[1:]
