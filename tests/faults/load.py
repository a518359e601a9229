# SPDX-License-Identifier: Apache-2.0
"""Callers that send commands all the time, and remember what they were told."""

import dataclasses
import hashlib
import itertools
import json
import random
import threading
import uuid

import oslo_messaging
from oslo_config import cfg

from guestagent import client, errors

#: Seconds for one attempt, and until a cast that had no outcome is sent again.
PATIENCE = 10
#: What of the commands takes how long, in seconds.
LENGTHS = [0, 0, 0, 0.05, 0.5, 2]


@dataclasses.dataclass
class Sent:
    """One command.

    :ivar text: the mark that it leaves; no other leaves the same.
    :ivar told: what its caller was told of its end; ``''``: nothing.
    :ivar casts: whether it wants no answer.
    :ivar insists: whether its caller sends it until it is told.
    """

    guest: str
    verb: str
    text: str
    seconds: float
    insists: bool
    casts: bool
    told: str = ''

    @property
    def arguments(self):
        return {'text': self.text, 'seconds': self.seconds}

    @property
    def digest(self):
        """What the guest knows it by (doc/wire.rst, section 3)."""
        request = ['probe', self.verb, '1.0', self.arguments]
        text = json.dumps(request, sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(text.encode()).hexdigest()


class Callers:
    """Threads of callers, and all that they have sent.

    :param url: where they find the bus.
    :ivar sent: every command.
    """

    def __init__(self, url, guests, seed):
        self._url, self._guests = url, guests
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        #: Nobody insists any longer.
        self._give_up = threading.Event()
        self._threads = []
        self.sent = []

    def start(self, with_ids, stock):
        """Start so many callers of either kind."""
        for number in range(with_ids):
            self._spawn(self._insist, number)
        self._transport = _transport(self._url)
        for number in range(stock):
            self._spawn(self._ask_once, number)

    def stop(self, seconds):
        """Send nothing new, and wait until all have been told; or give up."""
        self._stop.set()
        limit = threading.Timer(seconds, self._give_up.set)
        limit.start()
        for thread in self._threads:
            thread.join()
        limit.cancel()
        self._transport.cleanup()

    def _spawn(self, target, number):
        thread = threading.Thread(target=target, args=(number,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _next(self, insists):
        with self._lock:
            dice = self._random
            sent = Sent(
                dice.choice(self._guests),
                dice.choice(['mark', 'mark', 'mark_again']),
                f'{dice.getrandbits(32):08x}-{next(self._numbers)}',
                dice.choice(LENGTHS),
                insists,
                casts=dice.random() < 0.5,
            )
            self.sent.append(sent)
            return sent

    def _insist(self, number):
        with client.Client(url=self._url, caller=f'soak-{number}') as guests:
            while not self._stop.is_set():
                sent = self._next(insists=True)
                send = _cast if sent.casts else _call
                command_id = uuid.uuid4().hex
                while not sent.told and not self._give_up.is_set():
                    sent.told = send(guests, sent, command_id)

    def _ask_once(self, _number):
        while not self._stop.is_set():
            sent = self._next(insists=False)
            target = oslo_messaging.Target(
                exchange='guestagent',
                topic=f'guestagent.{sent.guest}',
                namespace='probe',
                version='1.0',
            )
            stock = oslo_messaging.get_rpc_client(
                self._transport, target, timeout=PATIENCE, retry=3
            )
            try:
                if sent.casts:
                    stock.cast({}, sent.verb, **sent.arguments)
                    self._stop.wait(0.2)
                else:
                    stock.call({}, sent.verb, **sent.arguments)
                    sent.told = 'done'
            except errors.GuestAgentError as error:
                sent.told = _told(error)
            except oslo_messaging.MessagingException:
                pass  # nobody knows: a stock caller does not ask again


def _transport(url):
    cfg.CONF([])
    return oslo_messaging.get_rpc_transport(
        cfg.CONF, url, allowed_remote_exmods=['guestagent.errors']
    )


def _call(guests, sent, command_id):
    try:
        guests.call(
            sent.guest,
            f'probe.{sent.verb}',
            sent.arguments,
            command_id=command_id,
            timeout=3 * PATIENCE,
            attempt_timeout=PATIENCE,
        )
    except (errors.Transient, errors.NoSuchInstance):
        return ''
    except errors.GuestAgentError as error:
        return _told(error)
    return 'done'


def _cast(guests, sent, command_id):
    try:
        guests.cast(
            sent.guest, f'probe.{sent.verb}', sent.arguments, command_id=command_id
        )
        return guests.wait(sent.guest, command_id, PATIENCE)['outcome']
    except (errors.Transient, errors.NoSuchInstance):
        return ''


def _told(error):
    # What its class was called before the library made one of its own.
    name = type(error).__name__.removesuffix('_Remote')
    return 'interrupted' if name == 'Interrupted' else name
