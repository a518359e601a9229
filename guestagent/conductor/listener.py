# SPDX-License-Identifier: Apache-2.0
"""Take reports in batches: one transaction, and then one acknowledgement.

A report is acknowledged after the database has it, so nothing is lost, and what is
delivered again changes nothing.  Whatever goes wrong, with the broker or with the
database, has one remedy: the connection to the broker is dropped, so that the broker
gives what was not acknowledged to another conductor or, after a while, to this one.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import amqp
import sqlalchemy.exc

from guestagent import logs
from guestagent.bus import reasons
from guestagent.conductor import broker, deliveries, intake
from guestagent.conductor import report as reports
from guestagent.conductor.db import engine, store

LOG = logging.getLogger(__name__)

#: How long to wait after a failure, in seconds; it doubles up to the second.
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0

#: How often the thread looks whether it shall stop, in seconds.
_IDLE = 0.5


class Settings(NamedTuple):
    """How batches are made; ``batch_timeout`` in seconds."""

    batch_size: int
    batch_timeout: float


@dataclasses.dataclass(frozen=True)
class Counted:
    """What a listener has counted, or several have.

    :ivar taken: how many messages were acknowledged.
    :ivar rejected: how many of these were no reports.
    :ivar refused: how many of the rejected were reports that did not count, by reason.
    """

    taken: int = 0
    rejected: int = 0
    refused: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: Counted) -> Counted:
        refused = {
            reason: self.refused.get(reason, 0) + other.refused.get(reason, 0)
            for reason in {**self.refused, **other.refused}
        }
        return Counted(
            self.taken + other.taken, self.rejected + other.rejected, refused
        )


class Consumer(Protocol):
    """What the listener takes from; :class:`guestagent.conductor.broker.Consumer`."""

    backlog: int
    #: Whether each report came from the socket of the instance that it names.
    proven: bool

    def take(self, limit: int, idle: float, fill: float) -> list[deliveries.Delivery]:
        """Return a batch."""

    def acknowledge(self, delivery: deliveries.Delivery) -> None:
        """Acknowledge this one and all before it."""

    def close(self) -> None:
        """Take leave."""

    def drop(self) -> None:
        """Close without a word."""


class Teller(Protocol):
    """What writes notices; :class:`guestagent.conductor.db.notices.Notices`."""

    def write(self, notices: Sequence[intake.Notice], now: float) -> None:
        """Write them."""


class Listener:
    """The thread that owns the connection of reports.

    :param consume: returns a consumer on one of the brokers.
    :param source: says what counts as a report.
    :param teller: takes what ``source`` has to tell; ``None``: nobody hears of it.
    :ivar taken: how many messages were acknowledged.
    :ivar rejected: how many of these were no reports.
    """

    def __init__(
        self,
        consume: Callable[[broker.Host], Consumer],
        hosts: Sequence[broker.Host],
        records: store.Store,
        settings: Settings,
        source: intake.Intake | None = None,
        teller: Teller | None = None,
    ) -> None:
        self._intake = source or intake.Intake()
        self._teller = teller
        self._consume = consume
        self._hosts = itertools.cycle(hosts)
        self._store = records
        self._settings = settings
        self._stopping = threading.Event()
        self._limit = logs.RateLimit()
        self._listening_since: float | None = None
        self._progress = False
        self.taken = 0
        self.rejected = 0
        # A daemon: a broker that does not answer must not keep the process.
        self._thread = threading.Thread(target=self._run, name='listener', daemon=True)

    def start(self) -> None:
        """Start the thread, which connects as soon as there is a broker."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Let the batch in hand end, and close; return whether that was in time."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def counted(self) -> Counted:
        """Return what was counted; from any thread."""
        return Counted(self.taken, self.rejected, dict(self._intake.refused))

    def listened(self) -> float:
        """Return for how many seconds reports have been taken without a gap.

        It counts from when those are written that had waited in the queue.
        """
        since = self._listening_since
        return 0.0 if since is None else time.monotonic() - since

    def _run(self) -> None:
        wait = FIRST_WAIT
        while not self._stopping.is_set():
            self._progress = False
            try:
                self._listen()
                return
            except (*broker.LOST, sqlalchemy.exc.SQLAlchemyError) as error:
                problem = _explain(error)
            except Exception:  # The boundary of a thread: it must go on.
                LOG.exception('taking reports failed in a way that nobody foresaw')
                problem = 'see above'
            finally:
                self._listening_since = None
            wait = FIRST_WAIT if self._progress else min(2 * wait, LONGEST_WAIT)
            pause = wait * random.uniform(0.5, 1.0)
            LOG.warning(
                'no reports are taken: %s; trying again in %.1f s', problem, pause
            )
            self._stopping.wait(pause)

    def _listen(self) -> None:
        """Take reports until it is time to stop, or something fails."""
        # Do not fetch what cannot be written.
        self._store.check()
        host = next(self._hosts)
        try:
            consumer = self._consume(host)
        except broker.LOST as error:
            raise ConnectionError(f'{host.name}: {_explain(error)}') from error
        LOG.info('taking reports from %s', host.name)
        try:
            while not self._stopping.is_set():
                self._take(consumer)
        except BaseException:
            consumer.drop()
            raise
        consumer.close()

    def _take(self, consumer: Consumer) -> None:
        """Take one batch, write it, acknowledge it."""
        settings = self._settings
        messages = consumer.take(settings.batch_size, _IDLE, settings.batch_timeout)
        if messages:
            self._write(list(self._read(messages, consumer.proven)))
            self._tell()
            consumer.acknowledge(messages[-1])
            self.taken += len(messages)
            self._progress = True
        consumer.backlog -= len(messages)
        if len(messages) < settings.batch_size:
            consumer.backlog = 0
        if consumer.backlog <= 0 and self._listening_since is None:
            self._listening_since = time.monotonic()

    def _read(
        self, messages: Iterable[deliveries.Delivery], proven: bool
    ) -> Iterable[reports.Report]:
        """Return the reports; what is none is counted, logged and let go."""
        now = time.time()
        for message in messages:
            try:
                if message.body is None:
                    raise reports.Rejected(
                        f'{message.size} bytes, more than max_report_size'
                    )
                yield self._intake.read(message.body, proven, now)
            except reports.Rejected as error:
                self._reject(str(error))

    def _tell(self) -> None:
        """Write what was noticed.

        :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        notices = self._intake.notices()
        if notices and self._teller is not None:
            self._teller.write(notices, time.time())

    def _write(self, batch: list[reports.Report]) -> None:
        """Write a batch; a report that the database cannot hold takes no other along.

        :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        if not batch:
            return
        try:
            self._store.apply(batch, time.time())
        except sqlalchemy.exc.DataError as error:
            if len(batch) == 1:
                self._reject(
                    f'of {batch[0].instance}: the database refuses it: '
                    f'{engine.explain(error)}'
                )
                return
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        held = self._limit.allow('rejected')
        if held is not None:
            LOG.warning(
                'a report was dropped: %s (%d others since the last such line)',
                reason,
                held,
            )


def _explain(error: BaseException) -> str:
    if isinstance(error, amqp.PreconditionFailed):
        return (
            f'the queue or the exchange of reports exists with other properties; '
            f'set report_queue_length as before, or delete the queue: {error}'
        )
    if isinstance(error, sqlalchemy.exc.SQLAlchemyError):
        return f'the database: {engine.explain(error)}'
    return reasons.explain(error)
