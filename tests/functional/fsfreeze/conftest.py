# SPDX-License-Identifier: Apache-2.0
"""File systems on loop devices, to be frozen, and folders in memory.

As root, on a kernel that gives loop devices: a container often has none, and then these
tests are skipped.  Nothing else is ever frozen, or thawed: the option ``only`` says so.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pytest
from guestagent_fsfreeze import calls

#: The smallest that mkfs makes of each kind, in MiB.
SIZES = {'ext4': 32, 'xfs': 300}


class Volume:
    """A file system in a file, mounted."""

    def __init__(self, kind: str, folder: pathlib.Path, name: str, size: int) -> None:
        self.image, self.point = folder / f'{name}.img', folder / name
        self.image.touch()
        os.truncate(self.image, size * 1024 * 1024)
        self.point.mkdir()
        subprocess.run(
            [f'mkfs.{kind}', '-q', self.image], check=True, capture_output=True
        )

    def mount(self) -> str:
        """Mount it; return why that cannot be."""
        done = subprocess.run(
            ['mount', '-o', 'loop', self.image, self.point],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr.strip()

    def thaw(self) -> bool:
        """Thaw it; return whether it was frozen."""
        fd = os.open(self.point, os.O_RDONLY)
        try:
            return calls.thaw_fully(calls.Calls(), fd)
        finally:
            os.close(fd)

    def end(self) -> None:
        """Unmount it, whatever became of it."""
        self.thaw()
        subprocess.run(['umount', '--lazy', self.point], check=True)


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> Iterator[Callable[..., Volume]]:
    """``volume(kind, name, folder)``: return a new one that is mounted."""
    if os.geteuid():
        pytest.skip('only root may freeze a file system')
    with contextlib.ExitStack() as made:

        def make(
            kind: str = 'ext4',
            name: str = 'volume',
            folder: pathlib.Path = tmp_path,
            size: int = 0,
        ) -> Volume:
            if shutil.which(f'mkfs.{kind}') is None:
                pytest.skip(f'this machine has no mkfs.{kind}')
            one = Volume(kind, folder, name, size or SIZES[kind])
            why = one.mount()
            if why:
                pytest.skip(f'this machine cannot mount a loop device: {why}')
            made.callback(one.end)
            return one

        yield make


@pytest.fixture
def memory() -> Iterator[pathlib.Path]:
    """A folder in memory."""
    with tempfile.TemporaryDirectory(dir='/dev/shm', prefix='fsfreeze-') as folder:
        yield pathlib.Path(folder)
