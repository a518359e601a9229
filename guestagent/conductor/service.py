# SPDX-License-Identifier: Apache-2.0
"""The conductor: what starts and stops in which order.

Start:

1. the database is opened and its tables brought to this version; if that fails there
   is no use in going on;
2. the server of queries: what is known can be asked for, even if it is of yesterday;
3. the listener, which brings it up to date;
4. the sweeper, which calls nobody DOWN before the listener has listened long enough;
5. the asker, which asks guests for facts that are missing.

None of them waits for a broker: they come when it comes.

Stop, within ``graceful_shutdown_timeout``: the listener first, so that a batch in hand
is written and acknowledged; the sweeper and the asker; the queries in hand; the
database.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import time
from typing import Any

import sqlalchemy.exc

from guestagent.conductor import api, asker, broker, listener, rpc, rules
from guestagent.conductor.db import engine, store, upkeep

LOG = logging.getLogger(__name__)

#: How often old records are looked for, in seconds, while few are found.
PRUNE_INTERVAL = 600.0


class Service:
    """The parts of a conductor, made from its configuration.

    :raises guestagent.errors.ConfigError: it is wrong.
    """

    def __init__(self, conf: Any) -> None:
        options = conf.conductor
        self._limit = options.graceful_shutdown_timeout
        self._stop = threading.Event()
        self._database = engine.Database(conf.database.connection)
        bus = rpc.transport(conf)
        queue = broker.report_queue(
            conf.report_topic,
            options.report_queue_length,
            options.batch_size,
            options.max_report_size,
        )
        self._listener = listener.Listener(
            functools.partial(broker.Consumer, queue=queue),
            broker.hosts(bus.conf),
            store.Store(
                self._database,
                rules.Settings(options.down_after, options.conflict_after),
            ),
            listener.Settings(options.batch_size, options.batch_timeout),
        )
        self._server = rpc.Server(bus, api.Queries(self._database), options.rpc_workers)
        self._sweeper = Sweeper(self._database, self._listener, options)
        self._asker = asker.Asker(
            self._database,
            bus,
            asker.Settings(options.facts_gap_after, options.facts_ask_rate),
        )

    def run(self) -> None:
        """Start, wait for SIGTERM or SIGINT, and stop; only on the main thread.

        :raises guestagent.conductor.db.engine.DatabaseError: the database cannot be
            used.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._database.sync()
        self._server.start()
        self._listener.start()
        self._sweeper.start()
        self._asker.start()
        LOG.info('the conductor has started')
        self._stop.wait()
        self._shut_down()

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop.set()

    def _shut_down(self) -> None:
        """Stop all parts; what does not end in time is left behind."""
        deadline = time.monotonic() + self._limit
        clean = True
        for name, part in (
            ('the listener', self._listener),
            ('the sweeper', self._sweeper),
            ('the asker', self._asker),
            ('the server of queries', self._server),
        ):
            if not part.stop(max(0.0, deadline - time.monotonic())):
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


class Sweeper:
    """The thread that marks instances DOWN and forgets what is old."""

    def __init__(
        self, database: engine.Database, source: listener.Listener, options: Any
    ) -> None:
        self._database = database
        self._source = source
        self._options = options
        self._stopping = threading.Event()
        self._next_prune = time.monotonic()
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
            except sqlalchemy.exc.SQLAlchemyError as error:
                LOG.warning(
                    'a sweep failed, the next will do its work: %s',
                    engine.explain(error),
                )
            except Exception:  # The boundary of a thread: it must go on.
                LOG.exception('a sweep failed in a way that nobody foresaw')

    def _sweep(self) -> None:
        down = upkeep.mark_down(self._database, time.time(), self._source.listened())
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
        )
        # As long as there is much to delete, each sweep deletes some.
        if deleted < options.prune_limit:
            self._next_prune = time.monotonic() + PRUNE_INTERVAL
