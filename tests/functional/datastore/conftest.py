# SPDX-License-Identifier: Apache-2.0
"""Real database servers that the extension itself makes, in temporary folders."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from guestagent_datastore import base
from guestagent_datastore import extension as datastore

from devstack import processes
from guestagent import extension, testing
from guestagent.agent import registry


class Guest:
    """A guest with a folder for its server, on which agents come and go.

    :ivar host: what took the reports of the agent.
    :ivar made: the extension of the agent that runs; ``None``: none does.
    """

    def __init__(self, folder: pathlib.Path, engine: str) -> None:
        self.folder = folder
        self.port = processes.free_port()
        self.options: dict[str, Any] = {
            'engine': engine,
            'mount_point': str(folder / 'volume'),
            'config_folder': str(folder / 'config'),
            'run_folder': str(folder / 'run'),
            'state_folder': str(folder / 'state'),
            'log_folder': str(folder / 'log'),
            'port': self.port,
            'listen': '127.0.0.1',
            'service': 'own',
            'state_change_wait_time': 60,
        }
        self.host = testing.Host()
        self.made: base.Base | None = None
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Start an agent's extension on it."""
        self.made = self._stack.enter_context(
            testing.started(
                datastore.Datastore,
                name='datastore',
                options=self.options,
                host=self.host,
            )
        )

    def stop(self) -> None:
        """Stop the extension; the server runs on."""
        self._stack.close()
        self.made = None

    def call(self, method: str, /, **arguments: Any) -> Any:
        """Run a command; testing.call has arguments of the same names as some here."""
        assert self.made is not None
        command = registry.Loaded('datastore', self.made).commands[method]
        given = json.loads(json.dumps(arguments))
        command.signature.check(given)
        result = command.function(extension.Context(), **given)
        return json.loads(json.dumps(result))

    def query(self, statement: str, *values: Any) -> Any:
        """Ask the server itself, by the agent's own account."""
        assert self.made is not None
        return self.made.engine.client.query(statement, *values)  # type: ignore[attr-defined]

    def stop_server(self) -> None:
        """Kill the server, and stop the extension."""
        if self.made is not None and (pid := self.made.control.pid):
            ended = os.pidfd_open(pid)
            self.stop()
            signal.pidfd_send_signal(ended, signal.SIGKILL)
            select.select([ended], [], [], 60)
            os.close(ended)
        self.stop()

    def remove(self) -> None:
        """Kill the server and delete all."""
        self.stop_server()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_guest(engine: str) -> Guest:
    """Return a guest in a folder that the server's own user may enter."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-datastore-'))
    folder.chmod(0o755)
    guest = Guest(folder, engine)
    guest.start()
    return guest


@pytest.fixture(scope='module')
def mariadb() -> Iterator[Guest]:
    """One guest for the tests of a module, with a MariaDB server that serves."""
    guest = make_guest('mariadb')
    try:
        guest.call('prepare', memory=64)
        yield guest
    finally:
        guest.remove()


@pytest.fixture
def new_guest() -> Iterator[Callable[[str], Guest]]:
    """``new_guest('mariadb')``: a guest of the test's own, with nothing on it."""
    guests: list[Guest] = []

    def make(engine: str) -> Guest:
        guests.append(make_guest(engine))
        return guests[-1]

    yield make
    for guest in guests:
        guest.remove()


@pytest.fixture
def context() -> extension.Context:
    """A command's context of nobody's, with no limit."""
    return extension.Context()
