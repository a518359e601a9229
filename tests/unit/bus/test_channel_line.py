# SPDX-License-Identifier: Apache-2.0
"""What another thread sends to the hub while the loop sleeps."""

import socket
import threading
import time

import pytest

from guestagent import loop as loops
from guestagent.bus import channel_line, framing


@pytest.fixture
def loop():
    """A loop that runs on a thread of its own."""
    made = loops.Loop()
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    made.call_soon(made.stop)
    thread.join(30)
    made.close()


@pytest.fixture
def peer():
    return socket.socketpair()


@pytest.fixture
def line(loop, peer):
    made = []
    loop.call_soon(
        lambda: made.append(
            channel_line.Line(loop, peer[0], bytes, lambda _: None, 2**24, 2**24)
        )
    )
    while not made:
        time.sleep(0.001)
    yield made[0]
    loop.call_soon(made[0].close)


def send(line, header, body=b''):
    """Send when the loop sleeps."""
    deadline = time.monotonic() + 30
    while not line.send_now(header, body):
        assert time.monotonic() < deadline


def read(peer, count):
    """Return so many frames."""
    decoder, frames = framing.Decoder(2**24), []
    peer[1].settimeout(30)
    while len(frames) < count:
        frames += decoder.feed(peer[1].recv(2**20))
    assert not decoder.broken
    return frames


def test_a_frame_goes_with_what_is_owed(line, peer):
    line.owed += [1, 2]
    send(line, {'op': 'reply'}, b'x')

    reply, ack = read(peer, 2)

    assert (reply.op, reply.body) == ('reply', b'x')
    assert ack.header == {'op': 'ack', 'tags': [1, 2]}
    assert line.owed == []


def test_what_the_socket_does_not_take_is_the_loops(line, peer):
    body = b'y' * 2**22
    send(line, {'op': 'reply', 'id': 1}, body)
    assert not line.send_now({'op': 'reply', 'id': 2}, b'')

    assert [frame.body for frame in read(peer, 1)] == [body]
    send(line, {'op': 'reply', 'id': 3})


def test_the_loop_sends_while_it_is_awake(line, loop, peer):
    sent, awake, go = [], threading.Event(), threading.Event()

    def busy():
        awake.set()
        go.wait(30)

    loop.call_soon(busy)
    assert awake.wait(30)
    sent.append(line.send_now({'op': 'reply'}, b''))
    go.set()
    assert sent == [False]


def test_threads_and_the_loop_send_whole_frames(line, loop, peer):
    def work(name):
        for number in range(300):
            header = {'op': 'x', 'from': name, 'n': number}
            if not line.send_now(header, b'z' * 3000):
                loop.call_soon(line.send, header, b'z' * 3000)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    frames = read(peer, 1200)
    for thread in threads:
        thread.join()
    came = {(frame.header['from'], frame.header['n']) for frame in frames}
    assert len(came) == 1200


def test_what_is_owed_is_sent_by_itself(line, loop, peer):
    loop.call_soon(line.owed.append, 7)

    assert [frame.header for frame in read(peer, 1)] == [{'op': 'ack', 'tags': [7]}]


def test_one_that_has_ended_sends_nothing(line, loop, peer):
    ended = threading.Event()
    loop.call_soon(lambda: (line.close(), ended.set()))
    assert ended.wait(30)
    assert not line.send_now({'op': 'x'}, b'')
