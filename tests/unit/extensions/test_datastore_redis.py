# SPDX-License-Identifier: Apache-2.0
"""What of Redis's engine needs no server: its protocol, and lines of files."""

from __future__ import annotations

import pathlib
import socket
import threading

import pytest
from guestagent_datastore.engines.redis import client, conffile
from hypothesis import given
from hypothesis import strategies as st

from guestagent import errors


@given(st.text(st.characters(exclude_categories=('Cs',))))
def test_a_value_stays_within_its_line_and_its_quotes(value: str) -> None:
    quoted = conffile.quote(value)
    inner = quoted[1:-1]
    assert quoted == f'"{inner}"'
    assert '"' not in inner
    assert inner.isascii()
    assert inner.isprintable() or not inner
    read = inner.encode().decode('unicode_escape').encode('latin-1')
    assert read == value.encode()


def test_values_as_the_server_reads_them() -> None:
    assert conffile.lines({'a': True, 'b-c': False, 'd': 1}) == (
        f'{conffile.HEAD}a "yes"\nb-c "no"\nd "1"\n'
    )
    assert conffile.check_name('MaxMemory') == 'maxmemory'
    for name in ('', 'a b', 'a"', 'a\n', '1a', 'ä'):
        with pytest.raises(errors.InvalidArgument, match='no parameter'):
            conffile.check_name(name)
    with pytest.raises(errors.InvalidArgument, match='Unicode'):
        conffile.text('\ud800')


def test_an_operators_text_has_parameters_only() -> None:
    text = 'hz 20\n include /x\nUSER a on\nrequirepass x\nusers 2\nrename-command A B'
    assert conffile.without_others(text) == 'hz 20\nusers 2\n'


@pytest.mark.parametrize(
    ('answer', 'result'),
    [
        (b'+PONG\r\n', 'PONG'),
        (b':-7\r\n', -7),
        (b'$-1\r\n', None),
        (b'*-1\r\n', None),
        (b'$4\r\n\r\nab\r\n', '\r\nab'),
        (b'*2\r\n$1\r\na\r\n*1\r\n:1\r\n', ['a', [1]]),
    ],
)
def test_answers(tmp_path: pathlib.Path, answer: bytes, result: object) -> None:
    assert _ask(tmp_path, b'+OK\r\n' + answer) == result


@pytest.mark.parametrize(
    ('answer', 'words'),
    [
        (b'-WRONGPASS no\r\n+PONG\r\n', 'Redis: WRONGPASS no'),
        (b'+OK\r\n-LOADING it\r\n', 'Redis: LOADING it'),
        (b'+OK\r\n', 'closed the connection'),
        (b'+OK\r\n$4\r\nab', 'closed the connection'),
        (b'HTTP/1.1 400\r\n', 'not Redis'),
        (b'+OK\r\n$x\r\n', 'not Redis'),
        (b'+OK\r\n$99999999999\r\n', 'not Redis'),
        (b'+OK\r\n' + b'*1\r\n' * 1000, 'closed the connection'),
    ],
)
def test_what_is_no_answer(tmp_path: pathlib.Path, answer: bytes, words: str) -> None:
    with pytest.raises(errors.GuestError, match=words):
        _ask(tmp_path, answer)


def test_nobody_listens(tmp_path: pathlib.Path) -> None:
    with pytest.raises(client.NotListening):
        client.Client(tmp_path / 'none', 'hunter2').run('PING')


def _ask(folder: pathlib.Path, answer: bytes) -> object:
    """Run a command at a server that always answers the same."""
    path = folder / 'socket'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return client.Client(path, 'hunter2', seconds=30).run('PING')
        finally:
            thread.join()
