# SPDX-License-Identifier: Apache-2.0
"""The agent as a whole: what is made, started and stopped, and in which order.

Start: extensions are loaded (a conflict of names ends it here); the bus begins to
connect on a thread of its own while the extensions start; the periodic methods and
the heartbeat begin; requests are taken.

Stop, within ``graceful_shutdown_timeout`` and a few seconds: no more requests are
taken from the bus; periodic methods begin no more runs; running commands end, or are
cancelled when the time is over; extensions stop; what is left to report, and the
goodbye, is sent, or waits on the disk; the connection is closed.  A request that came
and was not yet acknowledged goes back into its queue and waits for the next agent.  A
second signal ends it at once.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension, logs, systemd
from guestagent import loop as loops
from guestagent.agent import (
    core,
    dispatcher,
    identity,
    instance,
    machine,
    periodic,
    pool,
    privileges,
    recordfile,
    registry,
    reporter,
    rpc,
    selfcheck,
    state,
    supervision,
    trust,
)
from guestagent.agent import request as requests
from guestagent.agent.audit import making as auditing
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import records, recovery, states
from guestagent.agent.steps import arguments, audit, journaling, limit, policy, version
from guestagent.bus import base, factory
from guestagent.conf import check, listen

if TYPE_CHECKING:
    from guestagent import http

LOG = logging.getLogger(__name__)

#: Seconds that cancelled commands get to return, and the last reports to be sent.
CANCEL_SECONDS = 3.0
REPORT_SECONDS = 2.0


class _Host(extension.Host):
    """What extensions are given: the reporter, and each other."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        """See the base class."""
        self._service.reporter.report_facts(extension, facts)

    def report_event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """See the base class."""
        self._service.reporter.report_event(extension, name, data)

    def call(
        self,
        extension: str,
        method: str,
        arguments: Mapping[str, Any],
        context: extension.Context | None,
    ) -> Any:
        """See the base class."""
        return self._service.registry.call(extension, method, arguments, context)


class Service:
    """An agent, made of its parts.

    :param conf: with the options of :mod:`guestagent.conf.agent` registered.
    :param make_bus: makes the bus of (conf, loop, instance id).
    :param notifier: who tells systemd; ``None``: one of its own.
    :ivar journal: the commands that change the guest.
    :raises guestagent.errors.ConfigError: the configuration makes no sense.
    """

    def __init__(
        self,
        conf: Any,
        make_bus: Callable[[Any, loops.Loop, str], base.Bus] = factory.make,
        notifier: systemd.Notifier | None = None,
    ) -> None:
        self._conf = conf
        self.instance_id = instance.find(conf.instance_id)
        self.loop = loops.Loop()
        host = _Host(self)
        self.registry = registry.Registry(conf, host)
        self.bus = make_bus(conf, self.loop, self.instance_id)
        self.reporter = reporter.Reporter(
            self.loop,
            self.bus,
            identity.Identity(self.instance_id),
            reporter.Limits(
                interval=conf.reports.heartbeat_interval,
                splay=conf.reports.splay,
                rate=conf.spool.send_rate,
                count=conf.spool.max_reports,
                size=conf.spool.max_size,
            ),
            self._summaries,
        )
        self._snapshots = machine.Watch(self.loop, self._note_snapshot)
        self.loop.stood_still.append(self._note_standstill)
        self.started = time.monotonic()
        self.pool = pool.Pool(conf.dispatcher.workers, conf.dispatcher.backlog)
        self._limit = limit.Limit(lambda: self.pool.has_room)
        self.journal = self._make_journal()
        self._policy = policy.Policy()
        self.audit = auditing.make(conf, self.loop, self.pool, self._tell)
        self._audit = audit.Audit(self.audit)
        self.reporter.audit = self.audit
        self._trust = trust.Trust(conf, self.loop, self.instance_id)
        self.reporter.seal = self._trust.report
        self._judges = [version.Version(self.registry), arguments.Arguments()]
        self.dispatcher = dispatcher.Dispatcher(
            self.loop,
            self.pool,
            self.reporter,
            [
                *self._trust.unseal,
                self._judges[0],
                *self._trust.refuse,
                self._limit,
                self._policy,
                self._judges[1],
                self._audit,
                journaling.Journaling(self.journal),
            ],
        )
        core.register(
            host,
            self.registry,
            self.dispatcher,
            self.journal,
            self.reporter,
            self._diagnose,
            self.audit,
            self._rotate,
        )
        self.hangs = selfcheck.Hangs(
            self.pool, self.registry, self.reporter.report_event
        )
        self._statistics = selfcheck.Statistics(
            self.reporter.report_facts,
            lambda: conf.reports.statistics_interval,
            self.dispatcher.counts,
            self._queue,
        )
        self.door = rpc.RpcDoor(
            self.bus,
            self.loop,
            self.dispatcher.submit,
            self.dispatcher.replied,
            conf.dispatcher.max_result_size,
        )
        self._periodics = periodic.Periodics(self.loop, self.pool)
        self._supervision = supervision.Supervision(
            self.loop, self._go_round, self._status, notifier
        )
        self._http: http.Server | None = None
        self._signals = 0

    def run(self) -> None:
        """Start, serve until a signal says stop, and stop.

        :raises guestagent.errors.ConfigError: an extension that is required, or two
            that claim one name, stop the start.
        """
        self.load()
        self.loop.catch_signals(
            (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2), self._signal
        )
        self._show_stacks()
        self.start()
        self.loop.run()
        self.stop()

    def load(self) -> None:
        """Load the extensions and judge the configuration; the first step.

        :raises guestagent.errors.ConfigError: as :meth:`run` does.
        """
        self.registry.load(self._conf.enabled_extensions, self._conf.require_extensions)
        self._check()
        self._load_policy()
        self._serve_metrics()

    def start(self) -> None:
        """Connect, start the extensions and what runs on a period.

        :raises guestagent.errors.ConfigError: a required extension does not start, or
            the folder of the state cannot be used.
        :raises guestagent.errors.StorageError: nor can a file in it.
        """
        LOG.info(
            'guest agent for instance %s, extensions: %s',
            self.instance_id,
            ', '.join(item.name for item in self.registry.extensions()) or 'none',
        )
        for note in privileges.notes(self._conf, self.registry.extensions()):
            LOG.warning('%s', note)
        state.prepare(self._conf.state_dir)
        self.journal.open()
        self.audit.open()
        self.reporter.restore(os.path.join(self._conf.state_dir, 'spool'))
        self._trust.start()
        self._snapshots.start()
        # The connection is made meanwhile; nothing is taken before the loop runs.
        self.bus.start(self.door.receive, self._connected)
        self.registry.start(self._conf.require_extensions)
        for loaded in self.registry.extensions():
            if not loaded.problem:
                self._periodics.start(loaded)
        unfinished = self.journal.unfinished()
        recovery.recover(
            self.journal,
            [self._judges[0], self._policy, self._judges[1]],
            self._resume,
            self.reporter.report_outcome,
        )
        auditing.note_interrupted(self._audit, self.journal, unfinished)
        self.reporter.start()
        self._supervision.start()

    def _make_journal(self) -> journals.Journal:
        """Make the journal; it is opened when the agent starts."""
        options = self._conf.journal
        path = os.path.join(self._conf.state_dir, 'journal')
        return journals.Journal(
            recordfile.RecordFile(path, records.KIND, records.VERSION),
            self.instance_id,
            states.Bounds(options.max_commands, options.max_size, options.retention),
            self._tell,
        )

    def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        self.reporter.report_event('agent', name, data)

    def _resume(self, request: requests.Request) -> None:
        request.audited = True
        self.dispatcher.resume(request)

    def _note_standstill(self, seconds: float) -> None:
        """Take nothing that was delivered before: its callers may have given up."""
        self.bus.reconnect(f'this guest stood still for {seconds:.0f} s')

    def _note_snapshot(self) -> None:
        self.bus.reconnect('this guest goes on from a snapshot')
        self.reporter.note_snapshot()
        self._trust.note_snapshot()

    def _check(self) -> None:
        """Judge the configuration, now that all options are registered."""
        found = check.names(self._conf, *self._unregistered())
        for warning in found.warnings:
            LOG.warning('%s', warning)
        check.enforce([*check.values(self._conf), *found.problems])

    def _unregistered(self) -> tuple[set[str], list[tuple[str, list[Any]]]]:
        """Return what may stand in the files though it is not registered."""
        return self.registry.unread_sections(), factory.library_options(self._conf)

    def _serve_metrics(self) -> None:
        """Listen where ``[metrics] listen`` says.

        :raises OSError: that cannot be.
        """
        where = self._conf.metrics.listen
        if where:
            from guestagent import http  # most agents listen nowhere
            from guestagent.agent import metrics

            pages = metrics.pages(self)
            self._http = http.Server(self.loop, listen.parse(where), pages)
            self._http.start()

    def _connected(self) -> None:
        self._supervision.update()
        self.reporter.connected()

    def _status(self) -> str:
        state = 'connected' if self.bus.connected else 'not connected, trying again'
        return f'instance {self.instance_id}; bus: {state}'

    def _reload(self) -> None:
        """Take over what may change; each option's place is named in its help."""
        from guestagent.conf import reload  # few agents are ever asked to

        if reload.reload(self._conf, *self._unregistered()):
            logs.set_level(self._conf.debug)
            self.reporter.set_interval(self._conf.reports.heartbeat_interval)
            self._periodics.respace()
            self._reload_policy()
            self._trust.reload()

    def _reload_policy(self) -> None:
        try:
            self._load_policy()
        except errors.ConfigError as error:
            LOG.error('the policy stays as it was: %s', error)

    def _load_policy(self) -> None:
        self._policy.load(self._conf.policy.file, self.registry.command_names())

    def _show_stacks(self) -> None:
        """Have Python write all stacks to standard error when the agent hangs.

        It does when systemd aborts it, and at each SIGUSR2, even if the loop, which
        writes the rest, does not turn.
        """
        if sys.stderr is not None:
            faulthandler.enable()
            faulthandler.register(signal.SIGUSR2, chain=True)

    def _rotate(self, keys: list[str], url: str, overlap: float) -> None:
        from guestagent.agent import rotation  # few agents ever get other keys

        used = rotation.rotate(self._conf, keys, url, overlap)
        self._trust.reload()
        if used:
            self.loop.call_soon(self.bus.relocate, used)

    def _diagnose(self) -> dict[str, Any]:
        from guestagent.agent import diagnosis  # most agents are never asked

        return diagnosis.diagnose(self)

    def _log_diagnosis(self) -> None:
        from guestagent import diagnosis

        for line in diagnosis.lines(self._diagnose()):
            LOG.info('%s', line)

    def _go_round(self, arrived: Callable[[], None]) -> None:
        """Call back if the agent answers, and a worker is left."""
        if not self.hangs.all_hang:
            submit = self.dispatcher.submit
            supervision.go_round(self.loop, self.pool, submit, arrived)

    def _queue(self) -> dict[str, int]:
        in_flight = self.dispatcher.in_flight()
        running = sum(request.started is not None for request in in_flight)
        return {
            'commands_running': running,
            'commands_waiting': len(in_flight) - running,
            'reports_waiting': self.reporter.waiting,
        }

    def _signal(self, number: int) -> None:
        if number == signal.SIGUSR2:
            self._log_diagnosis()
            return
        if number == signal.SIGHUP:
            self._supervision.reload(self._reload)
            return
        self._signals += 1
        if self._signals > 1:
            LOG.warning('second signal: leaving at once')
            raise SystemExit(128 + number)
        LOG.info('%s: stopping', signal.Signals(number).name)
        self.loop.stop()

    def stop(self) -> None:
        """Leave, as the module says; on the thread of the loop, which is closed."""
        self._supervision.stop()
        self.bus.pause()
        self._limit.stopping = True
        self._periodics.stop()
        in_flight = self.dispatcher.watch
        grace = self._conf.graceful_shutdown_timeout
        if not self._turn(grace, lambda: not len(in_flight)):
            LOG.warning(
                'cancelling %d commands that did not end within %d s',
                len(in_flight),
                grace,
            )
            reason = errors.Interrupted(
                'the agent was stopped before the command ended'
            )
            self.dispatcher.cancel_all(reason)
            self._turn(CANCEL_SECONDS, lambda: not len(in_flight))
            self.dispatcher.abandon_all(reason)
        self.registry.stop()
        self.audit.sync()
        self.reporter.goodbye()
        self._turn(REPORT_SECONDS, lambda: self.reporter.idle or not self.bus.connected)
        self._snapshots.stop()
        self.bus.close()
        self._trust.stop()
        self.reporter.close()
        self.journal.close()
        self.audit.close()
        if self._http is not None:
            self._http.close()
        self.loop.close()
        LOG.info('stopped')

    def _turn(self, seconds: float, done: Callable[[], bool]) -> bool:
        """Run the loop until ``done()``, for so many seconds; return ``done()``."""
        until = time.monotonic() + seconds
        while not done():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.loop.run_once(left)
        return True

    def _summaries(self) -> dict[str, Any]:
        """Return what a heartbeat says of each extension; look around for it."""
        self.hangs.look()
        self._statistics.look()
        return {item.name: item.summary() for item in self.registry.extensions()}
