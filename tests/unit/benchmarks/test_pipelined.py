# SPDX-License-Identifier: Apache-2.0
"""The frames that the pipelined client writes, and what it finds in those it reads."""

import struct

import pytest

from guestagent.bus import envelope
from tests.benchmarks import pipelined

REPLY_QUEUE = 'reply_0123456789abcdef0123456789abcdef'


def make_frames(message_id='ab' * 16, value='hello'):
    request = pipelined.Request('guestagent', 'guestagent.i-1', REPLY_QUEUE, value)
    return request.frames(message_id)


def test_a_call_is_what_the_wire_says():
    bodies = pipelined.Replies().feed(make_frames(value={'n': [1, 'ü']}))

    message = envelope.read(bodies[0])
    assert message.body == {
        'method': 'echo',
        'namespace': 'echo',
        'version': '1.0',
        'args': {'value': {'n': [1, 'ü']}},
    }
    assert (message.msg_id, message.unique_id) == ('ab' * 16, 'ab' * 16)
    assert message.reply_queue == REPLY_QUEUE
    assert message.monitor is None


def test_bodies_are_found_however_the_stream_is_cut():
    stream = make_frames('1' * 32) + make_frames('2' * 32)
    replies = pipelined.Replies()

    found = [body for byte in stream for body in replies.feed(bytes([byte]))]

    assert [envelope.read(body).msg_id for body in found] == ['1' * 32, '2' * 32]


def test_a_body_in_two_frames_is_one():
    def frame(kind, payload):
        return struct.pack('>BHI', kind, 1, len(payload)) + payload + b'\xce'

    header = frame(pipelined.HEADER, struct.pack('>HHQH', 60, 0, 10, 0))
    stream = header + frame(pipelined.BODY, b'01234') + frame(pipelined.BODY, b'56789')

    assert pipelined.Replies().feed(stream) == [b'0123456789']


@pytest.mark.parametrize('method', [(10, 50), (20, 40)])
def test_a_close_by_the_broker_is_an_error(method):
    payload = struct.pack('>HHH', *method, 404)
    frame = struct.pack('>BHI', pipelined.METHOD, 1, len(payload)) + payload + b'\xce'

    with pytest.raises(pipelined.ClientError, match='hung up'):
        pipelined.Replies().feed(frame)
