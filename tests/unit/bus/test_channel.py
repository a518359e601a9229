# SPDX-License-Identifier: Apache-2.0
"""The agent's bus through a hub: no hub, and callers that go and come back."""

import json
import logging
import socket
import time

import pytest

from guestagent.bus import base, channel, framing


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'vm-1.sock')


@pytest.fixture
def received():
    return []


@pytest.fixture
def bus(loop, path):
    made = channel.ChannelBus(loop, channel.Settings(path, 8, 2**20, 2**20))
    yield made
    made.close()


@pytest.fixture
def hub(loop, path, bus, received):
    """The hub's end of a bus that is connected."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        bus.start(received.append, lambda: None)
        peer, _ = listener.accept()
    hello = {'op': 'hello', 'v': 1, 'role': 'hub', 'max': 2**20}
    peer.sendall(framing.encode(hello))
    turn(loop, lambda: bus.connected)
    yield peer
    peer.close()


def turn(loop, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        loop.run_once(0.01)


def test_where_no_hub_is_it_says_what_to_look_at(bus, caplog):
    with caplog.at_level(logging.WARNING):
        bus.start(lambda _: None, lambda: None)
    (record,) = caplog.records
    for word in ('No such file', '--listen DIR', '--guest ID', 'waiting', 'next'):
        assert word in record.getMessage()


def test_a_caller_that_has_gone_and_asks_again_is_back(loop, bus, hub, received):
    bus.reply(base.Reply(None, 'reply_x', '{}'))
    settled = {'op': 'settled', 'id': 1, 'outcome': 'returned', 'reason': 'nobody'}
    hub.sendall(framing.encode(settled))
    turn(loop, lambda: bus.is_gone('reply_x'))

    body = json.dumps({'method': 'x', '_msg_id': 'm', '_reply_q': 'reply_x'}).encode()
    hub.sendall(framing.encode({'op': 'deliver', 'tag': 1}, body))
    turn(loop, lambda: received)
    received[0].read()

    assert not bus.is_gone('reply_x')


def test_a_reply_queue_that_is_none_harms_nobody(loop, hub, received):
    body = json.dumps({'method': 'x', '_reply_q': {'no': 'text'}}).encode()
    hub.sendall(framing.encode({'op': 'deliver', 'tag': 1}, body))
    turn(loop, lambda: received)
    assert received[0].read().body == {'method': 'x'}
