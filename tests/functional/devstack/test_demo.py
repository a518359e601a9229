# SPDX-License-Identifier: Apache-2.0
"""The demo as its users run it, but for the making of the environment."""

import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from devstack import processes, stack

ROOT = pathlib.Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """The folder in which the demo makes its own; sockets need a short path."""
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


@pytest.fixture
def start(
    tmp_path: pathlib.Path, folder: pathlib.Path, children: list[processes.Process]
) -> Callable[..., processes.Process]:
    """``start(*options)``: start the demo."""

    def start(*options: str) -> processes.Process:
        child = processes.Process(
            'demo',
            [sys.executable, '-m', 'devstack.demo', *options],
            tmp_path / 'demo.log',
            env={**os.environ, 'TMPDIR': str(folder)},
            cwd=ROOT,
        )
        children.append(child)
        return child

    return start


def processes_of(folder: pathlib.Path) -> dict[int, str]:
    """Return the command lines of processes that know of this folder, by id."""
    found = {}
    for path in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            words = (path / 'cmdline').read_bytes().replace(b'\0', b' ').decode()
            environ = (path / 'environ').read_bytes().decode()
        except OSError:
            continue  # it has ended, or is another user's
        if str(folder) in words + environ:
            found[int(path.name)] = words
    return found


def assert_nothing_is_left(folder: pathlib.Path) -> None:
    # What a server has started ends a moment after it.
    processes.wait_for(lambda: not processes_of(folder), 'all have ended')
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ('options', 'scheme'), [([], 'channel'), (['--bus', 'rabbit'], 'rabbit')]
)
def test_it_shows_all_and_stops_when_asked(
    start: Callable[..., processes.Process],
    folder: pathlib.Path,
    options: list[str],
    scheme: str,
) -> None:
    # Given the demo after its show,
    demo = start(*options)
    demo.wait_line('^Ctrl-C stops everything', 300)
    text = demo.output()
    # then everything was shown, each state in its turn,
    states = re.findall(r'^\| vm-1 +\|.*?\b(UP|DOWN)\b', text, re.MULTILINE)
    assert states == ['UP', 'DOWN', 'UP']
    assert text.count(platform.release()) >= 2
    assert re.search(r'done at \d\d:\d\d:\d\d', text)
    # what it tells its user to type works,
    url = re.search(f'export {stack.URL_VARIABLE}=(.*)', text)
    assert url is not None
    assert url[1].startswith(f'{scheme}://')
    done = stack.guestctl(url[1], 'exec', 'vm-1', '--', 'echo', 'hello')
    assert (done.returncode, done.stdout) == (0, 'hello\n')
    # and Ctrl-C leaves nothing.
    os.kill(demo.pid, signal.SIGINT)
    assert demo.wait_end() == 0
    assert_nothing_is_left(folder)


def test_a_failed_step_is_named_and_all_is_stopped(
    start: Callable[..., processes.Process], folder: pathlib.Path
) -> None:
    # Given a conductor that dies while the demo starts,
    demo = start()

    def conductor() -> int | None:
        return next(
            (
                pid
                for pid, words in processes_of(folder).items()
                if 'guestagent-conductor' in words
            ),
            None,
        )

    os.kill(demo.wait_for(conductor, 'the conductor runs', 120), signal.SIGKILL)
    # then the demo fails, and says where.
    assert demo.wait_end(120) == 1
    assert re.search(
        r'"Start a conductor with SQLite" failed: conductor ended with -9',
        demo.output(),
    )
    assert_nothing_is_left(folder)


def test_once_stops_by_itself(folder: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'devstack.demo', '--once'],
        cwd=ROOT,
        env={**os.environ, 'TMPDIR': str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Ctrl-C' not in done.stdout
    assert_nothing_is_left(folder)
