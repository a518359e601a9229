# SPDX-License-Identifier: Apache-2.0
"""The JSON stream of the qga channel; what qemu-ga makes of it is in tests/interop."""

import base64
import json
from typing import Any

import hypothesis
import pytest
from guestagent_qga import lexer, stream
from hypothesis import strategies as st

PING = b'{"execute":"guest-ping"}'


def _read(*pieces: bytes) -> list[Any]:
    made = stream.Stream()
    return [_plain(found) for piece in pieces for found in made.feed(piece)]


def _plain(found: Any) -> Any:
    return ('bad', found.text) if isinstance(found, stream.Bad) else found


def _exactly(data: bytes) -> list[Any]:
    """Return what the lexer makes of it, without Python's scanner."""
    return [_plain(found) for found in stream._Exact().feed(data)]


_PIECES = st.sampled_from(
    [
        *(b'{', b'}', b'[', b']', b',', b':', b'"execute"', b'"id"', b"'a'", b'"'),
        *(b'\\', b'\\"', b'\n', b' ', b'1', b'-', b'0', b'.5', b'e3', b'true', b'nul'),
        *(b'\xff', b'\xfe', b'\0', b'#', b'\xc3\xa9', b'\x80', b'\\u00', b'41'),
        *(
            PING,
            b'{"id":"',
            b'"}',
            b'{"a":{"a":[1,2]}}',
            b'{"a":1,"a":2}',
            b'{"a":0e5}',
        ),
    ]
)


@hypothesis.given(st.lists(_PIECES, max_size=20))
def test_where_it_is_cut_makes_no_difference(pieces: list[bytes]):
    data = b''.join(pieces)
    # A number and a word end with what follows.
    end = b'\n'

    whole = _read(data + end)

    assert _read(*pieces, end) == whole
    assert _read(*(data[i : i + 1] for i in range(len(data))), end) == whole
    assert _exactly(data + end) == whole


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    st.dictionaries(
        st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    ),
    st.booleans(),
)
def test_what_json_can_say_arrives(value: dict[str, Any], ascii_only: bool):
    data = json.dumps(value, ensure_ascii=ascii_only).encode('utf-8', 'surrogatepass')

    found = _read(data)

    # Some texts hold what is no character.
    assert found == [value] or found[0][0] == 'bad'


def test_a_long_text_in_pieces():
    text = base64.b64encode(bytes(range(256)) * 4096).decode()
    message = {'execute': 'guest-file-write', 'arguments': {'buf-b64': text}}
    data = json.dumps(message).encode() + PING

    for size in (1000, 4096, 65536):
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        assert _read(*pieces) == [message, json.loads(PING)]


def test_a_fault_in_a_long_text_is_told_at_once():
    made = stream.Stream()
    assert made.feed(b'{"a":"' + b'x' * 70000) == []
    assert made.feed(b'y' * 70000) == []

    found = made.feed(b'z\nmore')

    assert [
        each.text.startswith('JSON parse error, stray \'"xxx') for each in found
    ] == [True]


def test_many_quotes_in_small_pieces_are_read_once():
    made = stream.Stream()
    made.feed(b'{"a":"')
    for _ in range(20000):
        assert made.feed(b'x\\"') == []

    (found,) = made.feed(b'"}')

    assert found == {'a': 'x"' * 20000}


@pytest.mark.parametrize('deep', [stream.DEPTH_MAX, 400])
def test_depth(deep: int):
    data = b'{"a":' * (deep - 1) + b'[]' + b'}' * (deep - 1)

    (found,) = _read(data)

    for _ in range(deep - 1):
        found = found['a']
    assert found == []


def test_too_deep():
    assert _read(b'{"a":' * stream.DEPTH_MAX + b'[') == [
        ('bad', 'JSON nesting depth limit exceeded')
    ]


def test_too_many_tokens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, 'TOKENS_MAX', 1000)
    fits = b'{"a":[' + b'1,' * 496 + b'1]}'
    assert len(_read(fits)) == 1
    assert isinstance(_read(fits)[0], dict)

    found = _read(b'{"a":[' + b'1,' * 497 + b'1]}')

    assert found[0] == ('bad', 'JSON token count limit exceeded')


@pytest.mark.parametrize('head', [b'{"a":"', b'{"a":\'', b'{"\xc3\xa9":"'])
def test_a_message_that_is_too_large(monkeypatch: pytest.MonkeyPatch, head: bytes):
    monkeypatch.setattr(lexer, 'SIZE_MAX', 100000)
    data = head + b'x' * 200000

    found = _read(*(data[i : i + 7000] for i in range(0, len(data), 7000)), b'\n', PING)

    assert found == [('bad', 'JSON token size limit exceeded'), json.loads(PING)]
