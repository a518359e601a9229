# SPDX-License-Identifier: Apache-2.0
"""Frames that begin and do not end."""

import socket
import time

import pytest

from guestagent import loop as loops
from guestagent.bus import framing
from guestagent.hub import connection


class Owner:
    """Remembers what it was told."""

    def __init__(self):
        self.frames = []
        self.reason = ''

    def received(self, frame):
        self.frames.append(frame)

    def room(self):
        pass

    def lost(self, reason):
        self.reason = reason


@pytest.fixture
def loop():
    made = loops.Loop()
    yield made
    made.close()


@pytest.fixture
def connect(loop):
    """``connect()``: return a connection that has met its peer, and the peer's end."""
    writer = connection.Writer(loop)
    open_ = []

    def make():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        made = connection.Connection(loop, writer, ours, 'peer', 2**20)
        made.owner = Owner()
        made.met()
        made.start()
        open_.append((made, theirs))
        return made, theirs

    make.writer = writer
    yield make
    for made, theirs in open_:
        made.close('the test is over')
        theirs.close()


def turn(loop, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        loop.run_once(0.01)


def test_a_frame_that_does_not_end_is_given_up(loop, connect, monkeypatch):
    monkeypatch.setattr(connection, 'FRAME_SECONDS', 0.05)
    made, peer = connect()
    peer.sendall(framing.encode({'op': 'x'}, b'y' * 1000)[:-1])

    turn(loop, lambda: made.closed)

    assert 'did not end within' in made.owner.reason
    assert b'did not end within' in peer.recv(1000)
    assert connect.writer.unfinished == 0


def test_a_frame_that_ends_in_time_is_not(loop, connect, monkeypatch):
    monkeypatch.setattr(connection, 'FRAME_SECONDS', 2)
    made, peer = connect()
    whole = framing.encode({'op': 'x'}, b'y' * 1000)
    began = time.monotonic()
    while time.monotonic() - began < 3:
        before = len(made.owner.frames)
        # The end of one, and the beginning of the next.
        peer.sendall(whole[500:] + whole[:500] if before else whole + whole[:500])
        turn(loop, lambda before=before: len(made.owner.frames) > before)
    assert not made.closed
    assert connect.writer.unfinished == 500


def test_all_unfinished_frames_together_are_bounded(loop, connect, monkeypatch):
    monkeypatch.setattr(connection, 'UNFINISHED_MAX', 300_000)
    part = framing.encode({'op': 'x'}, b'y' * 500_000)[:120_000]
    peers = [connect() for _ in range(3)]
    for made, peer in peers:
        peer.sendall(part)
        turn(loop, lambda made=made: made.closed or made._unfinished == len(part))

    assert [made.closed for made, _ in peers] == [False, False, True]
    assert connect.writer.unfinished == 2 * len(part)


def test_who_costs_much_time_is_not_read_for_a_while(loop, connect, monkeypatch):
    monkeypatch.setattr(connection, 'LONG_SECONDS', -1.0)
    monkeypatch.setattr(connection, 'REST_FACTOR', 1e9)
    made, peer = connect()
    whole = framing.encode({'op': 'x'}, b'y' * 1000)
    peer.sendall(whole[:500])
    turn(loop, lambda: made._unfinished)
    peer.sendall(whole[500:])
    turn(loop, lambda: made.owner.frames)

    peer.sendall(whole)
    loop.run_once(0.05)
    assert len(made.owner.frames) == 1

    made._rested()
    turn(loop, lambda: len(made.owner.frames) == 2)
