# SPDX-License-Identifier: Apache-2.0
"""A client that writes exactly the bytes it is told, to see what comes back."""

import json
import queue
import urllib.parse
import uuid

import amqp

from guestagent.bus import topics


def body_of(message, envelope=True):
    """Return what is sent: an object is wrapped, anything else goes as it is."""
    if not isinstance(message, dict):
        return message
    message = {'_unique_id': uuid.uuid4().hex, **message}
    if envelope:
        message = {'oslo.version': '2.0', 'oslo.message': json.dumps(message)}
    return json.dumps(message).encode()


class RawClient:
    """Publishes bodies to a guest's topic and reads its own reply queue.

    Use it as a context manager.
    """

    def __init__(self, url, exchange='guestagent'):
        parts = urllib.parse.urlsplit(url)
        self._connection = amqp.Connection(
            f'{parts.hostname}:{parts.port}',
            userid=parts.username,
            password=parts.password,
            virtual_host=parts.path[1:] or '/',
        )
        self._exchange = exchange
        self.reply_queue = f'reply_{uuid.uuid4().hex}'
        self._got = queue.SimpleQueue()

    def __enter__(self):
        self._connection.connect()
        self.channel = self._connection.channel()
        self.channel.queue_declare(
            self.reply_queue, auto_delete=False, arguments={'x-expires': 60000}
        )
        self.channel.basic_consume(
            self.reply_queue,
            no_ack=True,
            callback=lambda message: self._got.put(json.loads(message.body)),
        )
        return self

    def __exit__(self, *_):
        self._connection.close()

    def send(self, topic, message, envelope=True, **properties):
        """Publish a message: an object is wrapped, anything else goes as it is."""
        self.channel.basic_publish(
            amqp.Message(
                body_of(message, envelope),
                content_type='application/json',
                content_encoding='utf-8',
                **properties,
            ),
            self._exchange,
            topic,
        )

    def call(self, topic, message, seconds=60, **options):
        """Publish a call and return its reply's message; ``None``: none came."""
        msg_id = uuid.uuid4().hex
        self.send(
            topic,
            {'_msg_id': msg_id, '_reply_q': self.reply_queue, **message},
            **options,
        )
        while True:
            reply = self.receive(seconds)
            if reply is None or reply['_msg_id'] == msg_id:
                return reply

    def receive(self, seconds):
        """Return the next reply's message, or ``None`` when none comes."""
        try:
            while self._got.empty():
                self._connection.drain_events(timeout=seconds)
        except TimeoutError:
            return None
        return json.loads(self._got.get()['oslo.message'])

    def declare_reports(self):
        """Declare their queue as the conductor does, which the library would not."""
        queue = topics.report_queue()
        self.channel.queue_declare(
            queue,
            durable=True,
            auto_delete=False,
            arguments={'x-overflow': 'reject-publish', 'x-max-length': 1_000_000},
        )
        self.channel.queue_bind(queue, topics.REPORT_TOPIC, queue)

    def reports(self):
        """Take the reports that wait, and return them."""
        came = []
        while message := self.channel.basic_get(topics.report_queue(), no_ack=True):
            assert message.properties['delivery_mode'] == 2
            came.append(json.loads(json.loads(message.body)['oslo.message']))
        return came

    def declare(self, name):
        """Make a queue."""
        self.channel.queue_declare(name, auto_delete=False)

    def depth(self, name):
        """Return how many messages wait in a queue."""
        return self.channel.queue_declare(name, passive=True).message_count
