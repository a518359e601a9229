# SPDX-License-Identifier: Apache-2.0
"""What is read of a broker that may be none."""

import re
import socket
import threading
import time

import amqp
import pytest

from guestagent.bus import greeting, link, reasons, url

#: A server's first frame, whose content does not matter here.
START = b'\x01\x00\x00\x00\x00\x01\xc9' + 1024 * b'x'


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def reader(*parts, seconds=10, clock=None):
    left = list(parts)
    return greeting.Reader(
        lambda size: left.pop(0)[:size], lambda seconds: None, seconds, clock or Clock()
    )


def test_what_a_broker_says_passes_as_it_is():
    read = reader(START[:3], START[3:], b'')
    assert [read(7), read(2000), read(7)] == [START[:3], START[3:], b'']


@pytest.mark.parametrize(
    ('first', 'error', 'says'),
    [
        (b'\x15\x03\x03\x00\x02\x02\x46', greeting.SpeaksTls, 'speaks TLS'),
        (b'HTTP/1.1 400 Bad Request', greeting.NotAmqp, 'no AMQP broker.*0x48'),
    ],
)
def test_what_is_no_broker_is_told_by_its_first_byte(first, error, says):
    with pytest.raises(error) as caught:
        reader(first)(7)
    assert re.search(says, reasons.explain(caught.value))


def test_a_greeting_of_another_version_is_left_to_py_amqp():
    assert reader(b'AMQP\x01\x01\x00\x09')(8) == b'AMQP\x01\x01\x00\x09'


def test_no_more_is_read_than_a_login_takes():
    read = reader(*[b'\x01' * 60000] * 3)
    read(2**31)
    with pytest.raises(greeting.NotAmqp, match='too much'):
        read(2**31)


def test_all_answers_together_have_an_end():
    clock, timeouts = Clock(), []
    read = greeting.Reader(lambda size: b'\x01', timeouts.append, 10, clock)
    for _ in range(6):
        read(1)
        clock.now += 4.5
    clock.now = 100 + 29
    read(1)
    assert timeouts == [10, 10, 10, 10, 10, 7.5, 1]
    clock.now = 130
    with pytest.raises(TimeoutError, match='took too long'):
        read(1)


def test_a_broker_that_trickles_is_given_up():
    with socket.create_server(('127.0.0.1', 0)) as server:
        ended = threading.Event()

        def trickle():
            peer, _ = server.accept()
            with peer:
                try:
                    for number in START:
                        peer.sendall(bytes([number]))
                        if ended.wait(0.05):
                            return
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        start = time.monotonic()
        access = link.Access('/', 'test', 'PLAIN', None, 60, 0.3)
        broker = url.Broker('127.0.0.1', server.getsockname()[1], 'u', 'p')
        with pytest.raises((OSError, amqp.AMQPError)):
            link.Link(broker, access)
        ended.set()
        thread.join(30)
    # Its 1,031 bytes would have taken 50 seconds.
    assert time.monotonic() - start < 20
