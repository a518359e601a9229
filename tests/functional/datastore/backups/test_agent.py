# SPDX-License-Identifier: Apache-2.0
"""Backups by a real agent, whose extension runs in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import oslo_messaging
import pytest

from devstack import processes, stack
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional


def _parent(pid: int) -> int:
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    return int(stat.rpartition(')')[2].split()[1])


def _children(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    # They, and its threads, may end meanwhile.
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / 'children').read_text().split())
    return found + [each for child in found for each in _children(child)]


def _tool(agent: stack.Agent) -> int | None:
    """The server's program that makes a backup for this agent."""
    for pid in _children(agent.pid):
        try:
            command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
        except OSError:
            continue
        if command.startswith(b'mariadb-backup\0'):
            return pid
    return None


def test_an_agent_on_a_broker(
    mariadb: guests.Guest,
    agent: Callable[..., stack.Agent],
    stock_client: Callable[..., oslo_messaging.RPCClient],
    folder: pathlib.Path,
) -> None:
    mariadb.query('CREATE OR REPLACE DATABASE shop')
    mariadb.query('CREATE TABLE shop.rows_ (number INT PRIMARY KEY) SELECT 1 AS number')
    mariadb.stop()
    options: dict[str, Any] = {
        **mariadb.options,
        'backup_storage': 'file',
        'backup_folder': folder,
        'isolate': True,
    }
    try:
        running = agent(
            extensions='datastore',
            options={'DEFAULT': {'graceful_shutdown_timeout': 1}, 'datastore': options},
        )
        client = stock_client(running.instance, timeout=60, namespace='datastore')
        # The storage file wants no token; it must be in no log all the same.
        secrets = {'token': 'hunter2 of the user'}
        key = os.urandom(32).hex()
        made = client.call(
            {}, 'backup_create', backup_id='b1', target=secrets, encryption_key=key
        )
        assert made['type'] == 'full'
        client.call(
            {},
            'backup_restore',
            location=made['location'],
            checksum=made['checksum'],
            target=secrets,
            encryption_key=key,
        )
        written = [
            path.read_bytes() for path in running.state.rglob('*') if path.is_file()
        ]
        assert not any(
            key.encode() in each for each in [*written, running.output().encode()]
        )

        client.cast({}, 'backup_create', backup_id='b2')
        tool = processes.wait_for(lambda: _tool(running), 'it is made', spacing=0.01)
        os.kill(tool, signal.SIGSTOP)  # so it never ends
        worker = _parent(tool)
        processes.wait_for(lambda: len(_children(worker)) == 2, 'zstd runs')
        below = [worker, *_children(worker)]
        assert running.stop(60) == 0
        processes.wait_for(
            lambda: not any(pathlib.Path(f'/proc/{pid}').exists() for pid in below),
            'all have ended',
        )
        assert not [path.name for path in folder.rglob('b2*')]
    finally:
        mariadb.start()
    assert mariadb.query('SELECT number FROM shop.rows_') == [(1,)]
