# SPDX-License-Identifier: Apache-2.0
"""An extension whose programs a test starts, and what becomes of these."""

from __future__ import annotations

import base64
import os
import pathlib
import threading
import time

import pytest

from guestagent import extension

#: Longer than any test may take: what sleeps so long must have been killed.
LONG = 600

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason='only root can run programs as others'
)


class Guest:
    """``guest.spawn(...)`` and so on: the commands, without their context."""

    def __init__(self, made):
        self.made = made

    def __getattr__(self, name):
        method = getattr(self.made, name)
        return lambda *args, **kwargs: method(extension.Context('me'), *args, **kwargs)

    def end(self, handle, seconds=60):
        """Return the status of a program once it has ended."""
        until = time.monotonic() + seconds
        while (status := self.wait(handle, timeout=10))['running']:
            assert time.monotonic() < until, status
        return status

    def text(self, handle, stream='stdout', **options):
        return base64.b64decode(self.read(handle, stream, **options)['data'])

    def until(self, handle, expected, seconds=60):
        """Read along until this has come; return all."""
        data, until = b'', time.monotonic() + seconds
        while expected not in data:
            assert time.monotonic() < until, data
            data += self.text(handle, offset=len(data), wait=5)
        return data


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not come about'
        time.sleep(0.01)


def engine_threads():
    return [one for one in threading.enumerate() if one.name == 'exec']


def wait_gone(*started):
    """Wait until these have ended: who is killed needs the processor once more."""
    wait_for(lambda: not any(map(runs_still, started)))


def runs_still(process):
    """Whether a process runs; a zombie whose parent is slow does not."""
    try:
        stat = pathlib.Path(f'/proc/{process}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(')')[2].split()[0] not in 'ZX'
