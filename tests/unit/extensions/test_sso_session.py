# SPDX-License-Identifier: Apache-2.0
"""The agent of a session between its bus, which stands in here, and the agent."""

import contextlib
import json
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_sso import bus, session, wire


class Bus:
    """A bus of which the screen's lock is heard while a notification is shown."""

    def __init__(self, _address: str) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._waiting: list[wire.Message] = []

    def fileno(self) -> int:
        return self._ours.fileno()

    def ask_driver(self, *_: Any) -> None:
        pass

    def call(self, *names: Any, **_: Any) -> tuple[Any, ...]:
        if 'Notify' in names:
            said = wire.Message(wire.SIGNAL, member='ActiveChanged')
            self._waiting.append(said._replace(signature='b', body=(True,)))
        return ([],)

    def pending(self) -> Iterator[wire.Message]:
        while self._waiting:
            yield self._waiting.pop()
        with contextlib.suppress(BlockingIOError):
            if not self._ours.recv(1, socket.MSG_DONTWAIT):
                raise bus.BusError('it has ended')

    def end(self) -> None:
        self._theirs.close()

    def close(self) -> None:
        self._ours.close()


def test_a_lock_that_comes_with_an_answer_is_told_at_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, 'Connection', Bus)
    path = str(tmp_path / 'agents')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(60)
        made = session.Agent('', path, 'c1')
        thread = threading.Thread(target=_run, args=(made,))
        thread.start()
        agent, _address = listener.accept()
        try:
            agent.settimeout(60)
            lines = agent.makefile()
            assert json.loads(lines.readline())['session'] == 'c1'
            asked = {'id': 1, 'do': 'notify', 'title': '', 'text': 'hello'}
            agent.sendall(json.dumps(asked).encode() + b'\n')
            assert json.loads(lines.readline()) == {'id': 1, 'error': ''}
            assert json.loads(lines.readline()) == {'locked': True}
        finally:
            made._bus.end()  # type: ignore[attr-defined]
            thread.join(60)
            agent.close()
    assert not thread.is_alive()


def _run(made: session.Agent) -> None:
    with contextlib.closing(made), contextlib.suppress(bus.BusError):
        made.run()
