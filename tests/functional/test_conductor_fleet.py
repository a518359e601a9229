# SPDX-License-Identifier: Apache-2.0
"""Three conductors, a thousand guests, and an outage in which reports are lost.

The guests are scripted: one program speaks for all of them (doc/wire.rst, 7), and
answers the conductors' ``agent.report`` as an agent does.
"""

import collections
import json
import random
import time
import urllib.parse
from typing import Any

import amqp
import pytest
import sqlalchemy as sa

from devstack import databases, processes, stack
from tests.functional import reports

pytestmark = [pytest.mark.functional, pytest.mark.slow]

GUESTS = 1000
#: How many instances all conductors together ask in a second.
RATE = 100


class Fleet:
    """All guests: what each knows, what it is asked, and what it sends.

    Their requests come to one queue, bound with the topic of each.

    :ivar asks: when each guest was asked.
    """

    def __init__(self, url: str, publisher: reports.Publisher) -> None:
        parts = urllib.parse.urlsplit(url)
        self._connection = amqp.Connection(
            f'{parts.hostname}:{parts.port}', virtual_host=parts.path[1:]
        )
        self._connection.connect()
        self._channel = self._connection.channel()
        self._channel.exchange_declare(
            'guestagent', 'topic', durable=False, auto_delete=False
        )
        self._channel.queue_declare('fleet')
        self._channel.queue_bind('fleet', 'guestagent', 'guestagent.#')
        self._channel.basic_consume('fleet', no_ack=True, callback=self._asked)
        self._publisher = publisher
        self.guests = {
            f'guest-{number:04d}': reports.Guest(publisher, f'guest-{number:04d}')
            for number in range(GUESTS)
        }
        self.facts: dict[str, dict[str, Any]] = {name: {} for name in self.guests}
        self.asks: dict[str, list[float]] = collections.defaultdict(list)

    def start(self) -> None:
        """Let each say that it is there, and all that it knows."""
        for name, guest in self.guests.items():
            self._publisher.post(guest.make_heartbeat())
            self.facts[name] = {'a': 0, 'b': 0}
            self._publisher.post(guest.make_facts(True, **self.facts[name]))

    def live(self, rounds: int, lost: float) -> set[str]:
        """Let each change facts, ``lost`` of whose reports nobody gets.

        :returns: who lost some.
        """
        chance = random.Random(7)
        losers = set()
        for turn in range(1, rounds + 1):
            for name, guest in self.guests.items():
                key = chance.choice('ab')
                self.facts[name][key] = turn
                body = guest.make_facts(False, **{key: turn})
                if chance.random() < lost:
                    losers.add(name)
                else:
                    self._publisher.post(body)
        # A later one of each, or what was lost last would be noticed by nobody.
        for name, guest in self.guests.items():
            self.facts[name]['a'] = rounds + 1
            self._publisher.post(guest.make_facts(False, a=rounds + 1))
            self._publisher.post(guest.make_heartbeat())
        return losers

    def answer(self, seconds: float) -> None:
        """Answer what is asked, for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._connection.drain_events(timeout=left)
            except TimeoutError:
                return

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _asked(self, message: amqp.Message) -> None:
        request = json.loads(json.loads(message.body)['oslo.message'])
        assert (request['namespace'], request['method']) == ('agent', 'report')
        assert (request['version'], request['args']) == ('1.0', {})
        key = message.delivery_info['routing_key']
        name = key.removeprefix('guestagent.')
        self.asks[name].append(time.monotonic())
        guest = self.guests[name]
        self._publisher.post(guest.make_facts(True, **self.facts[name]))
        self._publisher.post(guest.make_heartbeat())


def _known(url: str) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the facts of each instance, and how many miss some."""
    engine = sa.create_engine(url)
    facts: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    with engine.begin() as connection:
        for name, key, value in connection.execute(
            sa.text('SELECT instance, name, value FROM facts')
        ):
            facts[name][key.removeprefix('monitoring.')] = json.loads(value)
        missing = connection.scalar(
            sa.text('SELECT count(*) FROM instances WHERE facts_gap IS NOT NULL')
        )
    engine.dispose()
    return facts, missing


def _asked_at(url: str) -> list[float]:
    """Return when the conductors decided to ask, in order."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        found = connection.scalars(
            sa.text(
                'SELECT asked FROM instances WHERE asked IS NOT NULL ORDER BY asked'
            )
        ).all()
    engine.dispose()
    return list(found)


def test_a_fleet_comes_back_without_a_storm(
    conductor, connect, bus_url, postgresql: databases.PostgreSQL
):
    # Given three conductors that know a thousand guests,
    url = postgresql.add('fleet')

    def options(gap: float) -> stack.Options:
        return {
            'database': {'connection': url},
            'conductor': {'facts_gap_after': gap, 'facts_ask_rate': RATE},
        }

    # Nobody is asked yet, however slow this machine is.
    children = [conductor(options(3600)) for _ in range(3)]
    children[0].wait_for(
        lambda: children[0].output().count('taking reports') == 3, 'all take reports'
    )
    publisher = connect()
    fleet = Fleet(bus_url, publisher)
    try:
        fleet.start()
        processes.wait_for(
            lambda: len(_known(url)[0]) == GUESTS, 'all guests are known', 120
        )
        for child in children:
            child.stop()
        # when they are away, and of what the guests report one in ten is lost,
        losers = fleet.live(rounds=5, lost=0.1)
        returned = time.time()
        children = [conductor(options(1), wait=False) for _ in range(3)]

        # then all that is true is known in the end,
        def converged() -> bool:
            fleet.answer(0.5)
            known, missing = _known(url)
            return not missing and known == fleet.facts

        processes.wait_for(converged, 'the conductors know what is true', 180)
        fleet.answer(2)

        def all_came() -> bool:
            fleet.answer(0.5)
            return len(_asked_at(url)) == len(fleet.asks)

        processes.wait_for(all_came, 'whom the conductors asked were asked', 120)
    finally:
        fleet.close()
    # from those who lost something, asked once each,
    assert 300 < len(losers) < 600
    assert losers <= set(fleet.asks)
    minutes = int((time.time() - returned) / 60)
    assert max(map(len, fleet.asks.values())) <= 1 + minutes
    # and others only where the queue was still being caught up with,
    assert len(fleet.asks) <= GUESTS
    # and never faster than the rate, but for what a burst may add.
    asked = _asked_at(url)
    assert len(asked) == len(fleet.asks)
    assert asked[0] >= returned
    for begin in asked:
        assert sum(begin <= moment < begin + 1 for moment in asked) <= 2 * RATE
    assert asked[-1] - asked[0] > len(asked) / RATE - 2
