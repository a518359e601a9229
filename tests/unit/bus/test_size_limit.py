# SPDX-License-Identifier: Apache-2.0
"""Messages above a size are cut while they come in; the others are not touched."""

import struct

import amqp
import pytest
from amqp import method_framing, spec
from hypothesis import given
from hypothesis import strategies as st

from guestagent.bus import envelope, frames

MAX = 100
DELIVER = struct.pack('>HH', *spec.Basic.Deliver)


class Connection:
    bytes_recv = 0


class Handler:
    """py-amqp's own handler of frames, behind a limit."""

    def __init__(self):
        self.connection = Connection()
        self.got = []
        take = method_framing.frame_handler(self.connection, self.on_message)
        self.limit = frames.SizeLimit(MAX, take)

    def on_message(self, channel, method, args, message):
        body = message.body if message.body else b''
        self.got.append((channel, body, self.limit.oversize, message.priority))


def content(channel, body, step):
    """Return the frames of a delivery whose body comes in pieces of ``step``."""
    message = amqp.Message(priority=3)
    header = struct.pack('>HHQ', spec.Basic.CLASS_ID, 0, len(body))
    yield 1, channel, DELIVER
    yield 2, channel, header + message._serialize_properties()
    for start in range(0, len(body), step):
        yield 3, channel, body[start : start + step]


@given(
    sizes=st.lists(st.integers(0, 3 * MAX), max_size=5),
    step=st.integers(1, 2 * MAX),
    data=st.data(),
)
def test_the_small_come_whole_and_the_large_with_their_size(sizes, step, data):
    handler = Handler()
    bodies = [data.draw(st.binary(min_size=size, max_size=size)) for size in sizes]

    for body in bodies:
        for frame in content(1, body, step):
            handler.limit.take(frame)

    assert handler.got == [
        (1, body, len(body) if len(body) > MAX else 0, 3) for body in bodies
    ]
    assert handler.limit.oversize == 0


def test_only_the_end_of_a_large_one_is_kept():
    handler = Handler()
    body = bytes(100_000) + b'end' * 30_000

    for frame in content(1, body, 4096):
        handler.limit.take(frame)

    [(_, kept, size, _)] = handler.got
    assert size == len(body)
    assert kept == body[-frames.END_KEPT :]


def test_channels_are_told_apart():
    handler = Handler()
    large = list(content(1, b'x' * (MAX + 1), 60))
    small = list(content(2, b'y' * MAX, 60))

    for pair in zip(large, small, strict=True):
        for frame in pair:
            handler.limit.take(frame)

    assert sorted((channel, size) for channel, _, size, _ in handler.got) == [
        (1, MAX + 1),
        (2, 0),
    ]


def test_what_is_cut_counts_as_a_sign_of_life():
    handler = Handler()
    given_frames = list(content(1, bytes(10 * MAX), MAX))

    for frame in given_frames[:-1]:
        handler.limit.take(frame)

    assert handler.connection.bytes_recv >= len(given_frames) - 2


def test_a_broken_header_is_for_the_handler_to_judge():
    handler = Handler()
    handler.limit.take((1, 1, DELIVER))
    with pytest.raises(struct.error):
        handler.limit.take((2, 1, b'\x00'))


@pytest.mark.parametrize(
    ('end', 'who'),
    [
        (
            envelope.wrap({'args': 'x', '_msg_id': 'm1', '_reply_q': 'reply_1'}),
            ('m1', 'reply_1'),
        ),
        (b'{"args": {}, "_msg_id": "m1", "_reply_q": "reply_1"}', ('m1', 'reply_1')),
        ('"_msg_id": "m1", "_msg_id": "m2", "_reply_q": "reply_2"', ('m2', 'reply_2')),
        ('{"_msg_id": null, "_reply_q": 5}', (None, None)),
        ('"_msg_id": "' + 'x' * 300 + '"', (None, None)),
        (b'\xff\x00"_msg_id":"m1"', ('m1', None)),
        ('', (None, None)),
    ],
)
def test_the_end_of_a_large_one_tells_who_asks(end, who):
    found = envelope.TooLarge(101, MAX, end)

    assert (found.msg_id, found.reply_queue) == who
    assert str(found) == (
        'the request takes 101 bytes; [bus] max_message_size allows 100'
    )
