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

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors, logs, systemd
from guestagent import loop as loops
from guestagent.agent import (
    casting,
    core,
    dispatcher,
    hosting,
    identity,
    instance,
    machine,
    path,
    periodic,
    pool,
    privileges,
    registry,
    reporter,
    rpc,
    selfwatch,
    state,
)
from guestagent.agent import request as requests
from guestagent.agent.holding import storage
from guestagent.bus import base, factory
from guestagent.conf import agent as options
from guestagent.conf import check, listen

if TYPE_CHECKING:
    from guestagent import http
    from guestagent.agent import channels

LOG = logging.getLogger(__name__)

#: Seconds that cancelled commands get to return, and the last reports to be sent.
CANCEL_SECONDS = 3.0
REPORT_SECONDS = 2.0


class Service:
    """An agent, made of its parts.

    :param conf: with the options of :mod:`guestagent.conf.agent` registered.
    :param make_bus: makes the bus of (conf, loop, instance id).
    :param notifier: who tells systemd; ``None``: one of its own.
    :ivar casts: what extensions cast.
    :ivar channels: other ways in than the bus; ``None``: there is none.
    :ivar path: the steps of a request, and what they keep.
    :ivar storage: keeps off the disk while it is frozen.
    :ivar selfwatch: what the agent knows of itself.
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
        self.storage = storage.Storage(
            conf.state_dir, conf.freeze.folder, conf.freeze.size, self.loop
        )
        host = hosting.Host(self, conf)
        self.registry = registry.Registry(conf, host)
        self.bus = make_bus(conf, self.loop, self.instance_id)
        self.reporter = self._make_reporter()
        self.casts = casting.Casts(
            conf, self.loop, self.bus, self.instance_id, self.storage.disk
        )
        self._snapshots = machine.Watch(self.loop, self._note_snapshot)
        self.loop.stood_still.append(self._note_standstill)
        self.started = time.monotonic()
        self.pool = pool.Pool(conf.dispatcher.workers, conf.dispatcher.backlog)
        self.path = path.Path(
            conf,
            self.loop,
            self.pool,
            self.registry,
            self.instance_id,
            self._tell,
            self.storage.disk,
        )
        self.reporter.audit = self.path.audit
        self.reporter.seal = self.path.trust.report
        self.dispatcher = dispatcher.Dispatcher(
            self.loop, self.pool, self.reporter, self.path.steps
        )
        self.selfwatch = selfwatch.SelfWatch(self, conf, notifier)
        self.door = rpc.RpcDoor(
            self.bus,
            self.loop,
            self.dispatcher.submit,
            self.dispatcher.replied,
            conf.dispatcher.max_result_size,
        )
        self._periodics = periodic.Periodics(self.loop, self.pool)
        core.register(self.registry, self._make_core(host))
        self.channels: channels.Channels | None = None
        self._http: http.Server | None = None
        self._signals = 0

    def _make_reporter(self) -> reporter.Reporter:
        conf = self._conf
        limits = reporter.Limits(
            interval=conf.reports.heartbeat_interval,
            splay=conf.reports.splay,
            rate=conf.spool.send_rate,
            count=conf.spool.max_reports,
            size=conf.spool.max_size,
            wanted=conf.reports.conductor,
        )
        who = identity.Identity(self.instance_id)
        return reporter.Reporter(self.loop, self.bus, who, limits, self._summaries)

    def _make_core(self, host: hosting.Host) -> core.Core:
        """Make the agent's own commands."""
        return core.Core(
            host,
            self.registry,
            self.dispatcher,
            self.path.journal,
            self.reporter,
            self.selfwatch.diagnose,
            self.path.audit,
            self._rotate,
        )

    def run(self) -> None:
        """Start, serve until a signal says stop, and stop.

        :raises guestagent.errors.ConfigError: an extension that is required, or two
            that claim one name, stop the start.
        """
        # Before anything is written: the disk may be frozen.
        self.storage.open()
        self.load()
        self.loop.catch_signals(
            (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2), self._signal
        )
        selfwatch.show_stacks()
        self.start()
        self.loop.run()
        self.stop()

    def load(self) -> None:
        """Load the extensions and judge the configuration; the first step.

        :raises guestagent.errors.ConfigError: as :meth:`run` does.
        """
        self.registry.load(self._conf.enabled_extensions, self._conf.require_extensions)
        self._load_channels()
        self._check()
        self.path.load_policy()
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
        self.path.open()
        self.reporter.restore(
            os.path.join(self._conf.state_dir, 'spool'), self.storage.disk
        )
        self.casts.restore()
        self._snapshots.start()
        # The connection is made meanwhile; nothing is taken before the loop runs.
        self.bus.start(self.door.receive, self._connected)
        self.registry.start(self._conf.require_extensions)
        for loaded in self.registry.extensions():
            if not loaded.problem:
                self._periodics.start(loaded)
        for name in self.storage.holders:
            self.registry.rouse(name)
        self.path.recover(self._resume, self.reporter.report_outcome)
        self.reporter.start()
        self.selfwatch.start()
        if self.channels is not None:
            self.channels.start()

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
        self.path.trust.note_snapshot()

    def _load_channels(self) -> None:
        if self._conf.enabled_channels:
            from guestagent.agent import channels  # most agents have none

            self.channels = channels.Channels(
                self._conf, self.loop, self.dispatcher, self.registry
            )
            self.channels.load(self._conf.enabled_channels)

    def _spare(self, conf: Any) -> set[str]:
        """Return the sections that may stand in the files though nobody reads them."""
        found = self.registry.unread_sections(conf.enabled_extensions)
        return found | options.unread_channels(self._conf)

    def _check(self) -> None:
        """Judge the configuration, now that all options are registered."""
        found = check.names(
            self._conf, self._spare(self._conf), factory.library_options(self._conf)
        )
        for warning in found.warnings:
            LOG.warning('%s', warning)
        check.enforce([*check.values(self._conf), *found.problems])

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
        self.selfwatch.update()
        self.reporter.connected()
        self.casts.connected()

    def _reload(self) -> None:
        """Take over what may change; each option's place is named in its help."""
        from guestagent.conf import reload  # few agents are ever asked to

        self.registry.look_around()
        others = factory.library_options(self._conf)
        if reload.reload(self._conf, self._spare, others):
            logs.set_level(self._conf.debug)
            self.reporter.set_interval(self._conf.reports.heartbeat_interval)
            self._periodics.respace()
            self._reload_policy()
            self.path.trust.reload()
            self.pool.urge(self._load_more, self._conf.enabled_extensions)

    def _load_more(self, names: list[str]) -> None:
        """Load the extensions that are enabled by now; on a thread of its own."""
        try:
            loaded = self.registry.load_more(names)
        except errors.ConfigError as error:
            LOG.error('no extension was loaded: %s', error)
            return
        for one in self.registry.extensions():
            if one.name not in names:
                LOG.warning(
                    '%s is enabled no more, but goes on until the end', one.name
                )
        if loaded:
            self.loop.call_soon(self._take_on, loaded)

    def _take_on(self, loaded: list[registry.Loaded]) -> None:
        """Do for extensions what the start does for others; on the loop."""
        LOG.info('loaded and started: %s', ', '.join(one.name for one in loaded))
        for problem in check.values(self._conf):
            LOG.error('%s', problem)
        for note in privileges.notes(self._conf, loaded):
            LOG.warning('%s', note)
        for one in loaded:
            self._periodics.start(one)
        if self._conf.policy.file:
            self._reload_policy()  # its rules may name what they have brought
        self.reporter.report_all()

    def _reload_policy(self) -> None:
        try:
            self.path.load_policy()
        except errors.ConfigError as error:
            LOG.error('the policy stays as it was: %s', error)

    def _rotate(self, keys: list[str], url: str, overlap: float) -> None:
        from guestagent.agent import rotation  # few agents ever get other keys

        if self.storage.disk.held:
            raise errors.Transient(
                'the file system of the keys is frozen: repeat it when it is thawed'
            )
        used = rotation.rotate(self._conf, keys, url, overlap)
        self.path.trust.reload()
        if used:
            self.loop.call_soon(self.bus.relocate, used)

    def _signal(self, number: int) -> None:
        if number == signal.SIGUSR2:
            self.selfwatch.log_diagnosis()
            return
        if number == signal.SIGHUP:
            self.selfwatch.reload(self._reload)
            return
        self._signals += 1
        if self._signals > 1:
            LOG.warning('second signal: leaving at once')
            raise SystemExit(128 + number)
        LOG.info('%s: stopping', signal.Signals(number).name)
        self.loop.stop()

    def stop(self) -> None:
        """Leave, as the module says; on the thread of the loop, which is closed."""
        self.selfwatch.stop()
        self.bus.pause()
        if self.channels is not None:
            self.channels.pause()
        self.path.limit.stopping = True
        self._periodics.stop()
        in_flight = self.dispatcher.watch
        grace = self._conf.graceful_shutdown_timeout
        if not self._turn(grace, self.dispatcher.is_settled):
            LOG.warning(
                'cancelling %d commands that did not end within %d s',
                len(in_flight),
                grace,
            )
            reason = errors.Interrupted(
                'the agent was stopped before the command ended'
            )
            self.dispatcher.cancel_all(reason)
            self._turn(CANCEL_SECONDS, self.dispatcher.is_settled)
            self.dispatcher.abandon_all(reason)
        if self.channels is not None:
            self.channels.stop()
        self.registry.stop()
        self.path.audit.sync()
        self.reporter.goodbye()
        self._turn(REPORT_SECONDS, lambda: self._told or not self.bus.connected)
        self._snapshots.stop()
        self.bus.close()
        self.reporter.close()
        self.casts.close()
        self.path.close()
        self.storage.close()
        if self._http is not None:
            self._http.close()
        self.loop.close()
        LOG.info('stopped')

    @property
    def _told(self) -> bool:
        """Whether all that is to be told has been."""
        return self.reporter.idle and self.casts.idle

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
        self.selfwatch.look()
        return {item.name: item.summary() for item in self.registry.extensions()}
