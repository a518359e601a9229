# SPDX-License-Identifier: Apache-2.0
"""What raw.RawClient is on RabbitMQ, on a hub."""

import contextlib
import itertools
import json
import time
import uuid

from guestagent.bus import topics
from tests.functional import hubs, raw

_REPLIES, _REPORTS, _DEPTH = 1, 2, 3


class RawClient:
    """Publishes bodies to a guest's topic and reads its own reply queue.

    Use it as a context manager.
    """

    def __init__(self, hub: hubs.Hub, exchange: str = topics.CONTROL_EXCHANGE) -> None:
        self._hub = hub
        self._exchange = exchange
        self.reply_queue = f'reply_{uuid.uuid4().hex}'
        self._numbers = itertools.count(1)
        # Topics by the numbers of publications that no guest has acknowledged.
        self._open = {}
        self._got = []
        self._reports = []

    def __enter__(self):
        self._peer = hubs.Peer(self._hub.folder / 'programs.sock')
        self._consume(_REPLIES, prefetch=1000, reply=self.reply_queue, noack=True)
        return self

    def __exit__(self, *_):
        self._peer.sock.close()

    def send(self, topic, message, envelope=True):
        """Publish a message: an object is wrapped, anything else goes as it is.

        It is the guest alone who judges where the reply may go: the hub is told.
        """
        asks = message.get('_reply_q') if isinstance(message, dict) else None
        number = next(self._numbers)
        self._open[number] = topic
        self._peer.send(
            'publish',
            raw.body_of(message, envelope),
            id=number,
            done=True,
            exchange=self._exchange,
            topic=topic,
            reply=asks if isinstance(asks, str) else self.reply_queue,
        )

    def call(self, topic, message, seconds=60, **options):
        """Publish a call and return its reply's message; ``None``: none came."""
        msg_id = uuid.uuid4().hex
        to = {'_msg_id': msg_id, '_reply_q': self.reply_queue}
        self.send(topic, {**to, **message}, **options)
        while True:
            reply = self.receive(seconds)
            if reply is None or reply['_msg_id'] == msg_id:
                return reply

    def receive(self, seconds):
        """Return the next reply's message, or ``None`` when none comes."""
        deadline = time.monotonic() + seconds
        try:
            while not self._got:
                self._take(self._peer.receive(deadline - time.monotonic()))
        except TimeoutError:
            return None
        return json.loads(self._got.pop(0)['oslo.message'])

    def declare_reports(self):
        """Take reports, as the conductor does."""
        topic = topics.report_queue()
        exchange = topics.REPORT_TOPIC
        self._consume(
            _REPORTS, prefetch=1000, exchange=exchange, topic=topic, kept=True
        )

    def reports(self):
        """Return the reports that have come since the last time."""
        self._peer.send('ping')
        self._take_until('pong')
        came, self._reports = self._reports, []
        return came

    def declare(self, name):
        """Make a queue for what is sent there."""
        self.depth(name, kept=True)

    def depth(self, name, **options):
        """Return how many messages wait at a topic, or with a guest."""
        if name in self._open.values():
            with contextlib.suppress(TimeoutError):
                deadline = time.monotonic() + 60
                while name in self._open.values():
                    self._take(self._peer.receive(deadline - time.monotonic()))
            return list(self._open.values()).count(name)
        address = {'exchange': self._exchange, 'topic': name}
        waiting = self._consume(_DEPTH, prefetch=0, **address, **options)
        self._peer.send('cancel', sub=_DEPTH)
        return waiting

    def _consume(self, number, **header):
        self._peer.send('consume', sub=number, **header)
        return self._take_until('consuming').header['waiting']

    def _take_until(self, op):
        while True:
            frame = self._peer.receive()
            if frame.op == op:
                return frame
            self._take(frame)

    def _take(self, frame):
        header = frame.header
        if frame.op == 'settled':
            self._open.pop(header['id'])
        elif frame.op == 'deliver' and header['sub'] == _REPLIES:
            self._got.append(json.loads(frame.body))
        elif frame.op == 'deliver':
            self._peer.send('ack', sub=header['sub'], tags=[header['tag']])
            self._reports.append(json.loads(json.loads(frame.body)['oslo.message']))
