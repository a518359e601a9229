# SPDX-License-Identifier: Apache-2.0
"""The conductor's numbers as Prometheus reads them.

The parts are measured from outside, by classes that stand in for them here, so that
they know nothing of it.  Reports are counted by the batch.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import oslo_messaging
import prometheus_client
import sqlalchemy.exc
from prometheus_client import core

from guestagent import http
from guestagent.conductor import broker, health, hub, listener, vhosts
from guestagent.conductor import report as reports
from guestagent.conductor.db import census, engine, store

#: How often instances are counted, in seconds.
CENSUS_INTERVAL = 15.0

_PREFIX = 'guestagent_conductor_'

_BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_COMMITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """All that is counted.

    :param wanted: whether anybody will ask; what costs a query is left out otherwise.
    """

    def __init__(self, state: health.Health, wanted: bool) -> None:
        self.health = state
        self.wanted = wanted
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.reports = self._counter(
            'reports', 'Reports that are in the database.', 'kind'
        )
        self.failures = self._counter(
            'database_failures', 'What the database did not do.', 'where'
        )
        self.connects = self._counter(
            'broker_connects', 'How often the listener has connected.'
        )
        self.batches = self._histogram(
            'batch_reports', 'How many messages a batch had.', buckets=_BATCHES
        )
        self.commits = self._histogram(
            'commit_seconds', 'How long a batch took to be written.', buckets=_COMMITS
        )
        self.queries = self._histogram(
            'query_seconds',
            'How long queries took, by method and result.',
            labelnames=('method', 'result'),
        )
        self.backlog = self._gauge(
            'backlog_reports',
            'Reports that waited when the listener connected and are not taken yet.',
        )
        self.instances = self._gauge(
            'instances',
            'Instances in the database, by state; each conductor counts all.',
            'state',
        )
        self._next_census = 0.0

    def _counter(self, name: str, text: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(
            f'{_PREFIX}{name}', text, labels, registry=self.registry
        )

    def _gauge(self, name: str, text: str, *labels: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(
            f'{_PREFIX}{name}', text, labels, registry=self.registry
        )

    def _histogram(
        self, name: str, text: str, **options: Any
    ) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(
            f'{_PREFIX}{name}', text, registry=self.registry, **options
        )

    def follow(
        self, source: listener.Listener, apart: vhosts.Vhosts | None = None
    ) -> None:
        """Collect what listeners count, and the state of health, too.

        :param apart: those of virtual hosts.
        """
        self.registry.register(_Collector(source, apart, self.health))

    def pages(self) -> dict[str, Callable[[], http.Answer]]:
        """Return what is served, by path."""
        return {'/metrics': self._page, '/healthz': self._health_page}

    def failed(self, where: str, error: BaseException) -> None:
        """The database failed."""
        self.failures.labels(where).inc()
        self.health.database = engine.explain(error)

    def swept(self, database: engine.Database) -> None:
        """A sweep has ended well; count the instances from time to time.

        :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        if self.wanted and time.monotonic() >= self._next_census:
            self._next_census = time.monotonic() + CENSUS_INTERVAL
            for state, number in census.by_state(database).items():
                self.instances.labels(state).set(number)
        self.health.database_answered()

    def _page(self) -> http.Answer:
        text = prometheus_client.generate_latest(self.registry).decode()
        return http.Answer(200, text, prometheus_client.CONTENT_TYPE_LATEST)

    def _health_page(self) -> http.Answer:
        problems = self.health.problems()
        if not problems:
            return http.Answer(200, 'ok\n')
        return http.Answer(503, ''.join(f'{problem}\n' for problem in problems))


class _Collector:
    """What others count, read when it is asked for."""

    def __init__(
        self,
        source: listener.Listener,
        apart: vhosts.Vhosts | None,
        state: health.Health,
    ) -> None:
        self._source = source
        self._apart = apart
        self._health = state

    def collect(self) -> Iterator[core.Metric]:
        """Return it, as prometheus_client asks for it."""
        counted = self._source.counted()
        if self._apart is not None:
            counted += self._apart.counted()
            yield _of_vhosts(self._apart.numbers())
        yield core.CounterMetricFamily(
            f'{_PREFIX}messages',
            'Messages that were taken and acknowledged.',
            counted.taken,
        )
        yield core.CounterMetricFamily(
            f'{_PREFIX}reports_rejected',
            'Messages that were no reports, or that the database cannot hold.',
            counted.rejected,
        )
        refused = core.CounterMetricFamily(
            f'{_PREFIX}reports_refused',
            'Of these, reports that did not count, by reason.',
            labels=['reason'],
        )
        for reason, number in counted.refused.items():
            refused.add_metric([reason], number)
        yield refused
        yield core.GaugeMetricFamily(
            f'{_PREFIX}database_up',
            'Whether the database answered when it was last asked.',
            not self._health.database,
        )
        yield core.GaugeMetricFamily(
            f'{_PREFIX}broker_up',
            'Whether the listener is connected.',
            not self._health.broker,
        )


def _of_vhosts(numbers: vhosts.Numbers) -> core.Metric:
    found = core.GaugeMetricFamily(
        f'{_PREFIX}vhosts',
        'Virtual hosts of single guests, by what becomes of their reports.',
        labels=['state'],
    )
    for state, number in numbers._asdict().items():
        found.add_metric([state], number)
    return found


class _Measured:
    """Measures the consumer that stands behind it in a class's bases."""

    backlog: int

    def __init__(
        self, host: broker.Host, queue: broker.Queue, metrics: Metrics
    ) -> None:
        self._metrics = metrics
        metrics.health.beat()
        metrics.health.broker = f'{host.name} does not answer'
        super().__init__(host, queue)  # type: ignore[call-arg]
        metrics.health.broker = ''
        metrics.connects.inc()

    def take(self, *args: Any, **kwargs: Any) -> Any:
        """See the base class."""
        metrics = self._metrics
        metrics.health.beat()
        taken = super().take(*args, **kwargs)  # type: ignore[misc]
        metrics.health.beat()
        metrics.backlog.set(self.backlog)
        if taken:
            metrics.batches.observe(len(taken))
        return taken

    def drop(self) -> None:
        """See the base class."""
        self._metrics.health.broker = 'the connection was lost'
        super().drop()  # type: ignore[misc]


class Consumer(_Measured, broker.Consumer):
    """A consumer of RabbitMQ's that is measured."""


class HubConsumer(_Measured, hub.Consumer):
    """A consumer of a hub's that is measured."""


def consume(
    host: broker.Host, queue: broker.Queue, metrics: Metrics
) -> listener.Consumer:
    """Return a consumer, as the kind of host wants it."""
    kind = HubConsumer if hub.PATH in host.parameters else Consumer
    return kind(host, queue, metrics)


class Store(store.Store):
    """A store that is measured.

    :param alive: whether its listener is the one that must go on.
    """

    def __init__(self, metrics: Metrics, *args: Any, alive: bool = True) -> None:
        super().__init__(*args)
        self._metrics = metrics
        self._alive = alive

    def apply(self, batch: Sequence[reports.Report], now: float) -> None:
        """See the base class."""
        metrics = self._metrics
        begin = time.monotonic()
        try:
            super().apply(batch, now)
        except sqlalchemy.exc.SQLAlchemyError as error:
            metrics.failed('reports', error)
            raise
        metrics.commits.observe(time.monotonic() - begin)
        metrics.health.database_answered()
        kinds = collections.Counter(type(report.data) for report in batch)
        for kind, number in kinds.items():
            metrics.reports.labels(kind.__name__.lower()).inc(number)

    def check(self) -> None:
        """See the base class."""
        if self._alive:
            self._metrics.health.beat()
        try:
            super().check()
        except sqlalchemy.exc.SQLAlchemyError as error:
            self._metrics.failed('check', error)
            raise
        self._metrics.health.database_answered()


class Queries:
    """The endpoint of queries, measured.

    oslo.messaging looks a method up by name; what the endpoint does not have, this has
    not either.
    """

    def __init__(self, endpoint: Any, metrics: Metrics) -> None:
        self._endpoint = endpoint
        self._metrics = metrics
        self.target = endpoint.target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._endpoint, name)

        def query(*args: Any, **kwargs: Any) -> Any:
            begin, result = time.monotonic(), 'failed'
            try:
                answer = method(*args, **kwargs)
                result = 'done'
                return answer
            except oslo_messaging.ExpectedException:
                result = 'refused'
                raise
            finally:
                seconds = time.monotonic() - begin
                self._metrics.queries.labels(name, result).observe(seconds)

        return query
