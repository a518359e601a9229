# SPDX-License-Identifier: Apache-2.0
"""The thread that takes reports, with a broker and a database made of lists."""

import json
import queue
from collections.abc import Callable

import pytest
import sqlalchemy.exc

from devstack import processes
from guestagent.conductor import broker, deliveries, listener

HOST = broker.Host('here', {})
SETTINGS = listener.Settings(batch_size=10, batch_timeout=0.01)


class Broker:
    """Keeps messages until they are acknowledged, and gives the others again."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.failures: queue.Queue[Exception] = queue.Queue()
        self.connections = 0
        self.closed = 0

    def consume(self, host: broker.Host) -> 'Consumer':
        self.connections += 1
        if not self.failures.empty():
            raise self.failures.get()
        return Consumer(self)


class Consumer:
    proven = False

    def __init__(self, source: Broker) -> None:
        self._broker = source
        self._given = 0
        self.backlog = len(source.kept)

    def take(self, limit: int, idle: float, fill: float):
        found = self._broker.kept[self._given : self._given + limit]
        self._given += len(found)
        if not found:
            listener.time.sleep(0.005)
        return [
            deliveries.Delivery(0, len(body), body if len(body) <= 10_000 else None)
            for body in found
        ]

    def acknowledge(self, message) -> None:
        del self._broker.kept[: self._given]
        self._given = 0

    def close(self) -> None:
        self._broker.closed += 1

    drop = close


class Records:
    """Takes batches, but for the events that ``refuse`` names."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.failures: queue.Queue[Exception] = queue.Queue()
        self.refuse: set[str] = set()

    @property
    def taken(self) -> list[str]:
        return [name for batch in self.batches for name in batch]

    def check(self) -> None:
        pass

    def apply(self, batch, now: float) -> None:
        if not self.failures.empty():
            raise self.failures.get()
        names = [report.data.type for report in batch]
        if self.refuse.intersection(names):
            raise sqlalchemy.exc.DataError('INSERT', {}, ValueError('too odd'))
        self.batches.append(names)


@pytest.fixture
def source() -> Broker:
    return Broker()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def running(source, records, monkeypatch):
    """``running()``: a listener at work; it is stopped after the test."""
    monkeypatch.setattr(listener, 'FIRST_WAIT', 0.01)
    monkeypatch.setattr(listener, '_IDLE', 0.01)
    made = []

    def start() -> listener.Listener:
        made.append(listener.Listener(source.consume, [HOST], records, SETTINGS))
        made[-1].start()
        return made[-1]

    yield start
    for item in made:
        assert item.stop(5)


@pytest.fixture
def body(payload) -> Callable[[str], bytes]:
    return lambda name: json.dumps({'payload': payload('event', type=name)}).encode()


def _wait(condition, what: str) -> None:
    processes.wait_for(condition, what, 60, 0.005)


def test_batches_are_written_and_then_acknowledged(source, records, running, body):
    names = [f'e{number}' for number in range(25)]
    source.kept = [body(name) for name in names]

    taker = running()

    _wait(lambda: taker.taken == 25, 'all is acknowledged')
    assert [len(batch) for batch in records.batches] == [10, 10, 5]
    assert records.taken == names
    assert (taker.taken, taker.rejected) == (25, 0)


def test_nothing_is_acknowledged_that_the_database_did_not_take(
    source, records, running, body
):
    for _ in range(3):
        records.failures.put(sqlalchemy.exc.OperationalError('x', {}, OSError('full')))
    source.kept = [body('a'), body('b')]

    running()

    _wait(lambda: not source.kept, 'all is acknowledged')
    assert records.taken == ['a', 'b']
    assert source.connections == 4
    assert source.closed == 3


def test_a_report_that_the_database_refuses_goes_alone(source, records, running, body):
    records.refuse = {'e3', 'e7'}
    source.kept = [body(f'e{number}') for number in range(10)]

    taker = running()

    _wait(lambda: not source.kept, 'all is acknowledged')
    assert records.taken == ['e0', 'e1', 'e2', 'e4', 'e5', 'e6', 'e8', 'e9']
    assert taker.rejected == 2


def test_what_is_no_report_or_too_large_is_counted(
    source, records, running, body, caplog
):
    source.kept = [b'garbage', body('a'), b'{"x": "' + b'y' * 10_000 + b'"}', b'{}']

    taker = running()

    _wait(lambda: taker.taken == 4, 'all is acknowledged')
    assert records.taken == ['a']
    assert (taker.taken, taker.rejected) == (4, 3)
    dropped = [line for line in caplog.messages if 'was dropped' in line]
    assert len(dropped) == 1


def test_it_connects_until_there_is_a_broker(source, records, running, body):
    for failure in (
        ConnectionRefusedError('no'),
        broker.amqp.AccessRefused('no'),
        RuntimeError('a bug'),
    ):
        source.failures.put(failure)
    source.kept = [body('a')]

    running()

    _wait(lambda: records.taken, 'it came through')
    assert source.connections == 4


def test_it_counts_as_listening_when_it_has_caught_up(source, records, running, body):
    taker = listener.Listener(source.consume, [HOST], records, SETTINGS)
    assert taker.listened() == 0.0

    taker = running()
    _wait(lambda: taker.listened() > 0.02, 'it listens')

    records.failures.put(sqlalchemy.exc.OperationalError('x', {}, OSError('full')))
    begin = listener.time.monotonic()
    source.kept.append(body('a'))
    _wait(lambda: records.taken, 'the report was taken after all')
    assert taker.listened() <= listener.time.monotonic() - begin
