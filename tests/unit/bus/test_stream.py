# SPDX-License-Identifier: Apache-2.0
"""A stream on the loop, over a pair of sockets."""

import socket

import pytest

from guestagent.bus import stream


@pytest.fixture
def pair(loop):
    """A stream that lets a mebibyte wait, its peer, and what it told."""
    ours, peer = socket.socketpair()
    got, ended = bytearray(), []
    made = stream.Stream(loop, ours, got.extend, ended.append, 1024 * 1024)
    yield made, peer, got, ended
    made.close()
    peer.close()


def test_what_is_written_in_a_round_is_sent_at_its_end(loop, pair):
    made, peer, _, ended = pair
    made.write(b'one')
    made.write(memoryview(b'two'))
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(10)

    loop.run_once(0)

    assert peer.recv(10) == b'onetwo'
    assert not ended


def test_a_slow_reader_gets_everything(loop, pair):
    made, peer, _, ended = pair
    sent = bytes(range(256)) * 4000
    made.write(sent)
    got = bytearray()
    while len(got) < len(sent):
        loop.run_once(0)
        got += peer.recv(30000)

    assert got == sent
    assert not ended


def test_more_than_the_peer_and_the_bound_take_ends_it(loop, pair):
    made, _, _, ended = pair
    made.write(bytes(1024 * 1024))
    loop.run_once(0)
    assert not ended

    made.write(bytes(1024 * 1024))
    # Not in the middle of whoever writes.
    assert not ended
    loop.run_once(0)

    assert len(ended) == 1
    assert 'wait to be sent: it does not read' in str(ended[0])


def test_what_comes_is_handed_on_and_the_end_is_told(loop, pair):
    _, peer, got, ended = pair
    peer.sendall(b'x' * 100_000)
    peer.close()
    for _ in range(10):
        loop.run_once(0)

    assert got == b'x' * 100_000
    assert [type(reason) for reason in ended] == [ConnectionResetError]
