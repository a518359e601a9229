# SPDX-License-Identifier: Apache-2.0
"""Child processes, ports and deadlines."""

import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from devstack import processes

ROOT = pathlib.Path(__file__).resolve().parents[3]


def python(tmp_path: pathlib.Path, code: str) -> processes.Process:
    return processes.Process(
        'child', [sys.executable, '-uc', code], tmp_path / 'child.log'
    )


def test_a_child_writes_its_log_and_stops(tmp_path: pathlib.Path) -> None:
    child = python(tmp_path, 'import time; print("number 7"); time.sleep(600)')
    assert child.wait_line(r'number (\d)')[1] == '7'
    assert child.running
    assert child.stop() == -signal.SIGTERM
    assert not child.running


def test_a_second_run_appends_and_shows_only_its_own(tmp_path: pathlib.Path) -> None:
    python(tmp_path, 'print("first")').wait_end()
    second = python(tmp_path, 'print("second")')
    second.wait_end()
    assert second.output() == 'second\n'
    assert second.log.read_text() == 'first\nsecond\n'


def test_waiting_ends_with_the_child_and_shows_its_log(tmp_path: pathlib.Path) -> None:
    child = python(tmp_path, 'print("the reason"); raise SystemExit(3)')
    with pytest.raises(processes.Failed, match=r'(?s)ended with 3 .*the reason'):
        child.wait_line('never')


def test_waiting_has_a_deadline() -> None:
    with pytest.raises(processes.Failed, match=r'not within 0\.1 s: rain'):
        processes.wait_for(lambda: False, 'rain', seconds=0.1)


def test_what_does_not_stop_is_killed(tmp_path: pathlib.Path) -> None:
    child = python(
        tmp_path,
        'import signal, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'print("ready"); time.sleep(600)',
    )
    child.wait_line('ready')
    with pytest.raises(processes.Failed, match='still runs after'):
        child.stop(0.1)
    assert not child.running


def test_the_kernel_ends_the_child_of_a_dead_parent(tmp_path: pathlib.Path) -> None:
    log = tmp_path / 'child.log'
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            'import os, pathlib, sys\n'
            'from devstack import processes\n'
            'child = processes.Process('
            '"sleep", ["sh", "-c", "echo up; exec sleep 600"],'
            ' pathlib.Path(sys.argv[1]))\n'
            'child.wait_line("up")\n'
            'print(child.pid, flush=True)\n'
            'os.kill(os.getpid(), 9)\n',
            str(log),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    status = pathlib.Path(f'/proc/{int(done.stdout)}')
    processes.wait_for(lambda: not status.exists(), 'the child is gone')


def test_a_port_is_given_once() -> None:
    ports = [processes.free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as server:
            server.bind(('127.0.0.1', port))


def test_ports_that_others_use_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(processes, 'PORTS', range(taken, taken + 1))
        with pytest.raises(processes.Failed, match=f'from {taken} to {taken}'):
            processes.free_port()
