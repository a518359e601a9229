# SPDX-License-Identifier: Apache-2.0
"""What is packed here travels as py-amqp would have packed it."""

import contextlib

import amqp
import pytest
from amqp import method_framing

from guestagent.bus import amqp_channel


class Stream:
    """Keeps what is written."""

    def __init__(self):
        self.out = b''

    def write(self, data):
        self.out += bytes(data)

    def having_timeout(self, _seconds):
        return contextlib.nullcontext()

    def take(self):
        out, self.out = self.out, b''
        return out


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def channel(stream):
    connection = amqp.Connection('nowhere')
    connection.transport = stream
    connection.frame_max = 4096
    connection.frame_writer = method_framing.frame_writer(connection, stream)
    made = amqp_channel.GuestChannel(
        connection, None, ready=None, closed=None, cancelled=None, received=None
    )
    stream.take()
    return made


@pytest.mark.parametrize('size', [0, 1, 3900, 5000, 20000])
@pytest.mark.parametrize(('exchange', 'key'), [('', 'reply_1'), ('trove', 'grün')])
def test_a_message_is_published(channel, stream, exchange, key, size):
    body = 'ü' + 'x' * size
    channel._published = 98
    assert channel.publish(exchange, key, body) == 99
    ours = stream.take()
    message = amqp.Message(
        body,
        content_type='application/json',
        content_encoding='utf-8',
        application_headers={},
        delivery_mode=2,
        priority=0,
        message_id='99',
    )
    channel.basic_publish(message, exchange, key, mandatory=True)

    assert ours == stream.take()


@pytest.mark.parametrize('tag', [1, 2**63])
def test_a_delivery_is_acknowledged(channel, stream, tag):
    channel.acknowledge(tag)
    ours = stream.take()
    channel.basic_ack(tag)

    assert ours == stream.take()


def test_a_channel_that_is_closed_takes_nothing(channel, stream):
    channel.collect()
    channel.acknowledge(1)
    with pytest.raises(amqp.exceptions.RecoverableConnectionError):
        channel.publish('', 'reply_1', '{}')

    assert stream.out == b''
