# SPDX-License-Identifier: Apache-2.0
"""A guest that stood still begins a new connection to its hub."""

import socket

from guestagent import loop as loops
from guestagent.bus import base, channel, framing


def greet(hub, loop, bus):
    """Take a connection and say hello; return it when the bus is connected."""
    for _ in range(500):
        loop.run_once(0.02)
        try:
            peer, _ = hub.accept()
        except BlockingIOError:
            continue
        hello = {'op': 'hello', 'v': 1, 'role': 'hub', 'name': 't', 'max': 2**20}
        peer.sendall(framing.encode({**hello, 'instance': 'vm'}, b''))
        while not bus.connected:
            loop.run_once(0.02)
        return peer
    raise AssertionError('nobody connected')


def test_what_was_delivered_before_is_not_read(tmp_path):
    hub = socket.socket(socket.AF_UNIX)
    hub.bind(str(tmp_path / 'hub'))
    hub.listen()
    hub.setblocking(False)
    loop = loops.Loop()
    settings = channel.Settings(str(tmp_path / 'hub'), 8, 2**20, 2**20)
    bus = channel.ChannelBus(loop, settings)
    received, fates = [], []
    bus.start(received.append, lambda: None)
    peer = greet(hub, loop, bus)
    # Given a report without an answer, and a request that nobody has read
    bus.report('{}', fates.append)
    peer.sendall(framing.encode({'op': 'deliver', 'tag': 1}, b'{}'))

    bus.reconnect('this guest stood still for 9 s')

    assert (bus.connected, fates) == (False, [base.Sent.LOST])
    again = greet(hub, loop, bus)
    assert (received, bus.connects) == ([], 2)
    bus.close()
    loop.close()
    for sock in (peer, again, hub):
        sock.close()
