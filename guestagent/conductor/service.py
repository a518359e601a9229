# SPDX-License-Identifier: Apache-2.0
"""The conductor: what starts and stops in which order.

Start:

1. the database is opened and its tables brought to this version; if that fails there
   is no use in going on;
2. the server of queries: what is known can be asked for, even if it is of yesterday;
3. the listener, which brings it up to date;
4. what lets guests in that have a token, where there are keys;
5. the sweeper, which calls nobody DOWN before the listener has listened long enough;
6. the asker, which asks guests for facts that are missing.

None of them waits for a broker: they come when it comes.

Stop, within ``graceful_shutdown_timeout``: all are told at once, and end what they have
in hand: the listener a batch, which is written and acknowledged, the server its
queries.  The database is closed when nobody uses it any more.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import sqlalchemy.exc

from guestagent import errors, keyfile, logs
from guestagent.conductor import (
    api,
    asker,
    broker,
    endpoint,
    enrolling,
    health,
    intake,
    listener,
    metrics,
    rpc,
    rules,
    supervision,
    vhosts,
)
from guestagent.conductor.db import engine, notices, upkeep
from guestagent.conf import listen, reload
from guestagent.seal import keys

LOG = logging.getLogger(__name__)

#: How often old records are looked for, in seconds, while few are found.
PRUNE_INTERVAL = 600.0


class Service:
    """The parts of a conductor, made from its configuration.

    :raises guestagent.errors.ConfigError: it is wrong.
    """

    def __init__(self, conf: Any) -> None:
        options = conf.conductor
        self._conf = conf
        self._limit = options.graceful_shutdown_timeout
        self._keys = _keys(conf)
        self._database = engine.Database(conf.database.connection)
        self._enrolling = enrolling.make(conf, self._database, lambda: self._keys)
        self._rules = rules.Settings(
            options.down_after,
            options.conflict_after,
            options.series_step,
            tuple(options.series_facts),
        )
        self._intake = self._make_intake()
        self._intakes = weakref.WeakSet([self._intake])
        self._lock = threading.Lock()
        where = conf.metrics.listen
        state = health.Health(3 * options.sweep_interval + 30)
        self._counts = counts = metrics.Metrics(state, wanted=bool(where))
        self._supervision = supervision.Supervision(state, self._reload)
        bus = rpc.transport(conf)
        queue = broker.report_queue(
            conf.report_topic,
            options.report_queue_length,
            options.batch_size,
            options.max_report_size,
        )
        hosts = broker.hosts(bus.conf)
        settings = listener.Settings(options.batch_size, options.batch_timeout)
        self._listener = listener.Listener(
            functools.partial(metrics.consume, queue=queue, metrics=counts),
            hosts,
            metrics.Store(counts, self._database, self._rules),
            settings,
            self._intake,
            notices.Notices(self._database),
        )
        if self._enrolling is not None:
            self._enrolling.listen(
                hosts,
                functools.partial(self._listen_apart, queue, settings),
                options.max_vhosts,
            )
        apart = self._enrolling.vhosts if self._enrolling else None
        counts.follow(self._listener, apart)
        queries = metrics.Queries(
            api.Queries(self._database, changes=not self._keys), counts
        )
        endpoints: list[object] = [queries]
        if self._enrolling is not None:
            endpoints.append(self._enrolling.operators)
        self._server = rpc.Server(bus, endpoints, options.rpc_workers)
        self._sweeper = Sweeper(self._database, self._listener, apart, options, counts)
        self._asker = asker.Asker(
            self._database,
            bus,
            asker.Settings(options.facts_gap_after, options.facts_ask_rate),
            lambda: self._intake.ring,
            *([apart.hosts_of] if apart else []),
        )
        self._endpoint: endpoint.Endpoint | None = None
        if where:
            pages = counts.pages()
            self._endpoint = endpoint.Endpoint(listen.parse(where), pages)

    def run(self) -> None:
        """Start, wait for SIGTERM or SIGINT, and stop; only on the main thread.

        :raises guestagent.conductor.db.engine.DatabaseError: the database cannot be
            used.
        """
        self._supervision.catch_signals()
        self._database.sync()
        if self._endpoint is not None:
            self._endpoint.start()
        if self._enrolling is not None:
            self._enrolling.start()
        self._server.start()
        self._listener.start()
        self._sweeper.start()
        self._asker.start()
        LOG.info('the conductor has started')
        self._supervision.wait()
        self._shut_down()

    def _make_intake(self) -> intake.Intake:
        options = self._conf.conductor
        return intake.Intake(
            _ring(self._keys),
            intake.Settings(
                options.report_rate, options.report_burst, options.allow_plain_reports
            ),
            self._enrolling.revoked if self._enrolling else (),
        )

    def _listen_apart(
        self,
        queue: broker.Queue,
        settings: listener.Settings,
        hosts: Sequence[broker.Host],
    ) -> listener.Listener:
        """Return what takes the reports of one guest, from its own virtual host."""
        source = self._make_intake()
        with self._lock:
            self._intakes.add(source)
        return listener.Listener(
            functools.partial(broker.Consumer, queue=queue),
            hosts,
            metrics.Store(self._counts, self._database, self._rules, alive=False),
            settings,
            source,
            notices.Notices(self._database),
        )

    def _reload(self) -> None:
        if reload.reload(self._conf, others=rpc.options()):
            logs.set_level(self._conf.debug)
            self._reload_keys()

    def _reload_keys(self) -> None:
        """Read the keys again; those that make no sense change nothing."""
        if self._intake.ring is None:
            return
        try:
            found = _keys(self._conf)
            ring, self._keys = _ring(found), found
            with self._lock:
                for source in self._intakes:
                    source.ring = ring
        except errors.ConfigError as error:
            LOG.error('the keys stay as they were: %s', error)
        else:
            LOG.info('the keys were read again')

    def _shut_down(self) -> None:
        """Stop all parts; what does not end in time is left behind."""
        deadline = time.monotonic() + self._limit
        clean = True
        # All are told before any is waited for.
        for told in (
            self._listener,
            self._sweeper,
            self._asker,
            self._server,
            self._enrolling,
        ):
            if told is not None:
                told.stop(0)
        for name, part in (
            # First, as it ends at once: another may use all of the time.
            ('the page of metrics', self._endpoint),
            ('the listener', self._listener),
            ('the sweeper', self._sweeper),
            ('the asker', self._asker),
            ('the server of queries', self._server),
            ('the server of enrolments', self._enrolling),
        ):
            if part is not None and not part.stop(
                max(0.0, deadline - time.monotonic())
            ):
                LOG.warning('%s has not ended within %d s', name, self._limit)
                clean = False
        LOG.info(
            'the conductor has stopped: %d reports taken, %d of them dropped',
            self._listener.taken,
            self._listener.rejected,
        )
        if not clean:
            # The interpreter would wait for the threads of oslo.messaging.
            logging.shutdown()
            os._exit(0)
        self._database.close()


def _keys(conf: Any) -> list[keys.Line]:
    """Return the keys that open reports; none: none are configured.

    :raises guestagent.errors.ConfigError: they cannot be read, or are others.
    """
    source = conf.seal.key_file, conf.seal.key_command
    if not any(source):
        return []
    lines = keyfile.read(*source)
    if any(line.use != keys.REPORTS for line in lines):
        raise errors.ConfigError(
            '[seal]: there is a key for commands, and the conductor must have none: '
            'make its own by "guestctl key new --use reports NAME"'
        )
    keys.MasterRing(lines, keys.REPORTS)
    return lines


def _ring(lines: list[keys.Line]) -> keys.MasterRing | None:
    return keys.MasterRing(lines, keys.REPORTS) if lines else None


class Sweeper:
    """The thread that marks instances DOWN and forgets what is old."""

    def __init__(
        self,
        database: engine.Database,
        source: listener.Listener,
        apart: vhosts.Vhosts | None,
        options: Any,
        counts: metrics.Metrics,
    ) -> None:
        self._database = database
        self._source = source
        self._apart = apart
        self._options = options
        self._counts = counts
        self._stopping = threading.Event()
        self._next_prune = time.monotonic()
        self._limit = logs.RateLimit(60)
        self._thread = threading.Thread(target=self._run, name='sweeper', daemon=True)

    def start(self) -> None:
        """Start the thread; the first sweep is one interval away."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Let a sweep end; return whether that was in time."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(self._options.sweep_interval):
            try:
                self._sweep()
                self._counts.swept(self._database)
            except sqlalchemy.exc.SQLAlchemyError as error:
                self._complain(error)
            except Exception:  # The boundary of a thread: it must go on.
                LOG.exception('a sweep failed in a way that nobody foresaw')

    def _complain(self, error: sqlalchemy.exc.SQLAlchemyError) -> None:
        self._counts.failed('sweep', error)
        held = self._limit.allow('failed')
        if held is not None:
            LOG.warning(
                'a sweep failed, the next will do its work: %s (%d others since the '
                'last such line)',
                engine.explain(error),
                held,
            )

    def _sweep(self) -> None:
        down = upkeep.mark_down(
            self._database,
            time.time(),
            self._source.listened(),
            self._apart.listened() if self._apart else None,
        )
        if down:
            LOG.info('%d instances are DOWN', down)
        if time.monotonic() < self._next_prune:
            return
        options = self._options
        deleted = upkeep.prune(
            self._database,
            time.time(),
            options.event_retention,
            options.outcome_retention,
            options.prune_limit,
            options.series_retention,
        )
        # As long as there is much to delete, each sweep deletes some.
        if deleted < options.prune_limit:
            self._next_prune = time.monotonic() + PRUNE_INTERVAL
