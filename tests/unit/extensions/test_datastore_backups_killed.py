# SPDX-License-Identifier: Apache-2.0
"""Backups that are cancelled, or whose agent or worker is killed."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from guestagent_datastore import holders
from guestagent_datastore.backups import manager

from devstack import processes
from guestagent import errors
from tests.unit.extensions.datastore_guest import Guest

ROOT = pathlib.Path(__file__).parents[3]
#: Many chunks of each kind.
BIG = 5_000_000


@pytest.fixture
def guest(tmp_path: pathlib.Path) -> Guest:
    return Guest(tmp_path)


def test_a_cancelled_backup_leaves_nothing(guest: Guest) -> None:
    pid_file = guest.folder / 'pid'
    guest.engine.writes = f'echo data; echo $$ > {pid_file}; sleep 1000 & wait'

    def cancel() -> None:
        processes.wait_for(lambda: _pids(pid_file), 'the program runs')
        guest.context.cancel(errors.Cancelled('enough'))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(errors.Cancelled, match='enough'):
        guest.back_up('b1')
    canceller.join()
    assert guest.left() == []
    processes.wait_for(lambda: not _runs(int(_pids(pid_file))), 'it has ended')


#: An agent that makes a backup; what it is given comes by arguments.
AGENT = """
import pathlib, sys
from guestagent import extension
from guestagent_datastore.backups import manager, targets
from tests.unit.extensions import datastore_standin as standin

folder = pathlib.Path(sys.argv[1])
conf = standin.options(backup_folder=str(folder / 'store'))
engine = standin.StandIn(folder)
engine.writes = sys.argv[2]
manager.Manager(conf, folder / 'state').create(
    engine, 'b1', None, targets.make(conf, '', {}, 'backups'), '',
    extension.Context('me', 'command-1'))
"""


def test_a_packaged_agent_finds_the_worker(guest: Guest) -> None:
    """Its modules are in no place that Python knows by itself."""
    own = pathlib.Path(manager.__file__).parents[2]
    path = [str(ROOT), str(own), *sys.path]
    code = f'import sys; sys.path[:0] = {path!r}\n{AGENT}'
    argv = [sys.executable, '-I', '-S', '-c', code, guest.folder, 'echo data']
    subprocess.run(argv, cwd='/', env={}, check=True)
    assert sorted(guest.left()) == ['b1.tar.zst', 'b1.tar.zst.json']


def test_a_program_gets_nothing_of_the_worker(guest: Guest) -> None:
    guest.engine.writes = (
        f'env > {guest.folder}/seen; ls /proc/self/fd >> {guest.folder}/seen'
    )
    guest.back_up('b1')
    seen = (guest.folder / 'seen').read_text()
    assert 'PYTHONPATH' not in seen
    assert seen.split()[-4:] == ['0', '1', '2', '3'], 'the last is the folder itself'


def _children(pid: int) -> list[int]:
    path = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
    found = [int(child) for child in path.read_text().split()]
    return found + [each for child in found for each in _children(child)]


def _killed(guest: Guest, whom: str) -> None:
    """Have an agent make a backup, and kill it, or its worker, in the middle."""
    pid_file = guest.folder / 'pid'
    agent = subprocess.Popen(
        [
            sys.executable,
            '-c',
            AGENT,
            guest.folder,
            f'openssl rand {BIG}; echo $$ > {pid_file}; sleep 1000',
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        processes.wait_for(lambda: _pids(pid_file), 'the program runs')
        worker = _children(agent.pid)[0]
        below = _children(worker)
        assert len(below) >= 2
        os.kill(agent.pid if whom == 'agent' else worker, signal.SIGKILL)
        processes.wait_for(
            lambda: not any(_runs(each) for each in [*below, worker]), 'all have ended'
        )
        # It notes how its worker has ended, and ends by that.
        agent.wait(60)
    finally:
        agent.kill()
        agent.wait()


def test_an_agent_that_is_killed_leaves_nothing(guest: Guest) -> None:
    _killed(guest, 'agent')
    assert guest.left() == ['b1.json'], 'only the note for the next agent'
    [found] = guest.manager.interrupted()
    assert (found.backup_id, found.command_id) == ('b1', 'command-1')
    assert guest.manager.interrupted() == []
    assert list(guest.folder.glob('guestagent-work-*')) != []
    guest.manager.tidy(guest.engine, guest.context)
    assert list(guest.folder.glob('guestagent-work-*')) == []
    assert guest.left() == []
    guest.restore(guest.back_up('b1'))


def test_what_a_killed_worker_left_is_swept(guest: Guest) -> None:
    _killed(guest, 'worker')
    assert 'b1.tar.zst.part' in guest.left()
    # The agent was alive, so whoever waited for it has been told.
    assert guest.manager.interrupted() == []
    made = guest.back_up('b2')
    assert sorted(guest.left()) == ['b2.tar.zst', 'b2.tar.zst.json']
    guest.restore(made)


#: An agent that restores a backup as a change that the next one has to get over.
RESTORING = """
import pathlib, sys
from guestagent import extension
from guestagent_datastore import programs
from guestagent_datastore.backups import manager, targets
from tests.unit.extensions import datastore_standin as standin

folder = pathlib.Path(sys.argv[1])
conf = standin.options(backup_folder=str(folder / 'store'))
engine = standin.StandIn(folder)
engine.reads = sys.argv[2]
made = manager.Manager(conf, folder / 'state')
target, context = targets.make(conf, '', {}, 'backups'), extension.Context()
links = made.chain(engine, sys.argv[3], '', target, context)
with programs.marked(folder / 'mark'):
    made.restore(engine, links, target, '', context)
"""


def test_a_restore_of_a_killed_agent_is_ended_by_the_next(guest: Guest) -> None:
    made = guest.back_up('b1')
    pid_file, mark = guest.folder / 'pid', guest.folder / 'mark'
    reads = f'echo $$ > {pid_file}; sleep 1000'
    agent = subprocess.Popen(
        [sys.executable, '-c', RESTORING, guest.folder, reads, made['location']],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        processes.wait_for(lambda: _pids(pid_file), 'the program runs')
        worker = _children(agent.pid)[0]
        # It notices the agent's end late.
        os.kill(worker, signal.SIGSTOP)
        left = [worker, *_children(worker)]
    finally:
        agent.kill()
        agent.wait()
    assert {worker, int(_pids(pid_file))} <= {*holders.find(mark)}
    holders.end(mark)
    assert holders.find(mark) == []
    processes.wait_for(lambda: not any(map(_runs, left)), 'all have ended')


def _pids(path: pathlib.Path) -> str:
    return path.read_text().strip() if path.exists() else ''


def _runs(pid: int) -> bool:
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(')')[2].split()[0] != 'Z'
