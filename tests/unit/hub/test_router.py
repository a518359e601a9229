# SPDX-License-Identifier: Apache-2.0
"""Reply queues whose program was lost."""

import pytest

from guestagent.bus import framing
from guestagent.hub import queues, router


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self):
        return self.now


class Peer:
    """Takes what comes, and remembers what it was told."""

    has_room = True

    def __init__(self):
        self.bodies = []
        self.settled = []

    def deliver(self, _subscription, _tag, message):
        self.bodies.append(message.body)

    def settle(self, number, outcome, _reason):
        self.settled.append((number, outcome))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def routes(clock):
    return router.Router(queues.Limits(), clock)


def lose(routes, name):
    """Let a program wait at a reply queue, and lose it."""
    routes.leave(routes.bind_reply(name).subscribe(Peer(), 1, 1, acknowledges=False))


def reply(routes, name, peer, number):
    publication = queues.Publication(peer, number, done=False)
    message = queues.Message(b'answer', routes.expires(None), publication=publication)
    return routes.reply(name, message)


def test_a_reply_waits_for_a_program_that_was_lost(routes, clock):
    lose(routes, 'reply_x')
    sender, program = Peer(), Peer()
    assert reply(routes, 'reply_x', sender, 1)
    clock.now += router.LEFT_SECONDS - 1
    routes.expire()

    routes.bind_reply('reply_x').subscribe(program, 1, 1, acknowledges=False)

    assert program.bodies == [b'answer']
    assert routes.bind_reply('reply_x') is None
    clock.now += router.LEFT_SECONDS
    routes.expire()
    assert reply(routes, 'reply_x', sender, 2)
    assert sender.settled == []


def test_after_a_while_it_is_returned(routes, clock):
    lose(routes, 'reply_x')
    sender = Peer()
    reply(routes, 'reply_x', sender, 1)
    clock.now += router.LEFT_SECONDS

    routes.expire()

    assert not reply(routes, 'reply_x', sender, 2)
    returned = framing.Outcome.RETURNED
    assert sender.settled == [(1, returned), (2, returned)]
    assert not routes.held_bytes


def test_only_so_many_wait(routes, monkeypatch):
    monkeypatch.setattr(router, 'LEFT_MAX', 2)
    for number in range(3):
        lose(routes, f'reply_{number}')
    known = [routes.has_reply_queue(f'reply_{number}') for number in range(3)]
    assert known == [False, True, True]
