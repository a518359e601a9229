# SPDX-License-Identifier: Apache-2.0
"""``monitoring``: report what the guest is and has, again when it changes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension
from guestagent_monitoring import facts as catalogue
from guestagent_monitoring import spread, steady

if TYPE_CHECKING:
    from oslo_config import cfg

    from guestagent_monitoring import collectd, custom, watch

LOG = logging.getLogger(__name__)

#: Seconds.
_SOON, _DAY = 5.0, 86400.0


class Monitoring(extension.Extension):
    """Answers ``monitoring.facts`` and ``monitoring.refresh``; reports by itself.

    :ivar collectors: for each fact, by name, what tells its present value.
    """

    version = '1.1'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self.collectors = catalogue.collectors(conf)
        # One look at a fact at a time, or an older one could be reported last.
        self._locks: dict[str, threading.Lock] = {}
        self._reported: dict[str, Any] = {}
        self._primed = False
        self._problems: dict[str, str] = {}
        self._problems_lock = threading.Lock()
        self._spread = spread.Spread()
        self._statistics: custom.Statistics | None = None
        self._collectd: collectd.Values | None = None
        self.collectors['statistics'] = self._tell_statistics
        self._watch: watch.Watch | None = None

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options; the agent of one channel has no oslo.config."""
        from guestagent_monitoring import conf as options

        return options.OPTIONS

    def start(self) -> None:
        """Begin to listen for what the kernel announces."""
        if self.conf.watch_changes:
            from guestagent_monitoring import sources, watch

            self._watch = watch.Watch(
                sources.open_sources(self._own()), self._report, self.conf.change_delay
            )
            self._watch.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._watch is not None:
            self._watch.stop()

    def health(self) -> str:
        """Return which facts cannot be told, and why."""
        problems = dict(self._problems)
        for source in (self._statistics, self._collectd):
            if source is not None:
                problems |= {
                    f'statistics.{key}': text for key, text in source.problems.items()
                }
        return '; '.join(f'{name}: {problems[name]}' for name in problems) or 'ok'

    @extension.command(mutates=False, timeout=30)
    def facts(
        self,
        context: extension.Context,
        prefix: str = '',
        names: list[str] | None = None,
    ) -> dict[str, Any]:
        """Return the facts as they are now; nothing is reported.

        Those that are reported by themselves and do not take long, or those among
        ``names``, if given; and only such whose names begin with ``prefix``.  The
        result is ``{facts: {name: value}, problems: {name: text}}``; the second says
        which could not be told.

        :raises guestagent.errors.InvalidArgument: there is no such fact.
        """
        for name in names or ():
            if name not in self.collectors:
                raise errors.InvalidArgument(
                    f'names: there is no fact {name!r}, but '
                    f'{", ".join(self.collectors)}'
                )
        wanted = self._quick() if names is None else names
        return self._look(
            name
            for name in self.collectors
            if name in wanted and name.startswith(prefix)
        )

    @extension.command(mutates=False, timeout=30)
    def refresh(self, context: extension.Context) -> dict[str, Any]:
        """Look at all that is reported, report what changed, however little; return it.

        The result is that of ``facts``.
        """
        names = self._quick()
        with self._held(names):
            seen = self._look(names)
            self._publish(seen['facts'])
        return seen

    @extension.periodic(spacing=60, option='period')
    def collect(self) -> None:
        """Look at what has no period of its own, and report what changed."""
        self._collect('period')
        if not self._primed:
            # A rate needs two looks: this one lets the next, which is soon, tell it.
            self._primed = True
            self._look(name for name in self._own() if name in catalogue.RATES)

    @extension.periodic(spacing=_DAY, immediately=False, first=_SOON)
    def collect_rest(self) -> None:
        """Look soon after the start at what has a period of its own, one by one.

        All at once would take a thread each.  What takes long waits for its period:
        the guest has other things to do.
        """
        quick = self._quick()
        for option, group in catalogue.REPORTED.items():
            names = [name for name in quick if name in group]
            if names and option != 'period':
                self._report(names)
        if self.conf.statistics_period:
            self.collect_statistics()
        if self.conf.collectd_period:
            self.collect_collectd()

    @extension.periodic(spacing=60, option='load_period', immediately=False)
    def collect_load(self) -> None:
        """The same for the load and what processors do.

        Rates that are looked at as often come with them, so that there is one report.
        """
        if self._together():
            self._collect('load_period', 'rates_period')
        else:
            self._collect('load_period')

    @extension.periodic(spacing=60, option='rates_period', immediately=False)
    def collect_rates(self) -> None:
        """The same for memory's and the network's rates, if nothing else does it."""
        if not self._together():
            self._collect('rates_period')

    def _together(self) -> bool:
        return bool(self.conf.load_period == self.conf.rates_period)

    @extension.periodic(spacing=120, option='users_period', immediately=False)
    def collect_users(self) -> None:
        """The same for users and their sessions."""
        self._collect('users_period')

    @extension.periodic(spacing=120, option='services_period', immediately=False)
    def collect_services(self) -> None:
        """The same for services."""
        self._collect('services_period')

    @extension.periodic(spacing=120, option='listeners_period', immediately=False)
    def collect_listeners(self) -> None:
        """The same for ports that something listens on."""
        self._collect('listeners_period')

    @extension.periodic(spacing=120, option='containers_period', immediately=False)
    def collect_containers(self) -> None:
        """The same for containers."""
        self._collect('containers_period')

    @extension.periodic(spacing=600, option='applications_period', immediately=False)
    def collect_applications(self) -> None:
        """The same for what is installed."""
        self._collect('applications_period')

    @extension.periodic(spacing=600, option='reboot_period', immediately=False)
    def collect_reboot(self) -> None:
        """The same for whether the guest should be started anew."""
        self._collect('reboot_period')

    @extension.periodic(spacing=3600, option='updates_period', immediately=False)
    def collect_updates(self) -> None:
        """The same for updates that wait."""
        self._collect('updates_period')

    @extension.periodic(spacing=60, option='statistics_period', immediately=False)
    def collect_statistics(self) -> None:
        """Look at the administrator's own statistics that are due."""
        folder = self.conf.statistics_dir
        with self._held(['statistics']):
            if self._statistics is None:
                if not os.path.isdir(folder):
                    return
                from guestagent_monitoring import custom

                self._statistics = custom.Statistics(folder)
            self._report_statistics(self._statistics.look())

    @extension.periodic(spacing=60, option='collectd_period', immediately=False)
    def collect_collectd(self) -> None:
        """Ask collectd for its values, if it is to be asked."""
        if not self.conf.collectd_socket:
            return
        with self._held(['collectd']):
            if self._collectd is None:
                from guestagent_monitoring import collectd

                self._collectd = collectd.Values(
                    self.conf.collectd_socket, self.conf.collectd_values
                )
            self._report_statistics(self._collectd.look())

    def _report_statistics(self, changed: Mapping[str, Any]) -> None:
        self.report_facts({f'statistics.{key}': changed[key] for key in changed})

    def _tell_statistics(self) -> dict[str, dict[str, Any]]:
        told: dict[str, dict[str, Any]] = {}
        for source in (self._statistics, self._collectd):
            if source is not None:
                told |= source.values()
        return told

    def _collect(self, *options: str) -> None:
        """Look at the facts of these periods that are reported."""
        wanted = {name for option in options for name in catalogue.REPORTED[option]}
        self._report([name for name in self._own() if name in wanted])

    def _own(self) -> list[str]:
        """Return the facts that are reported by themselves."""
        return [
            name for name in catalogue.reported(self.conf) if name in self.collectors
        ]

    def _quick(self) -> list[str]:
        """Return those of them that are told to whoever asks for everything."""
        return [name for name in self._own() if name not in catalogue.LONG]

    @contextlib.contextmanager
    def _held(self, names: Iterable[str]) -> Iterator[None]:
        """Keep all others from looking at these facts to report them."""
        with contextlib.ExitStack() as stack:
            # In one order, so that no two wait for each other.
            for name in sorted(names):
                stack.enter_context(self._locks.setdefault(name, threading.Lock()))
            yield

    def _report(self, names: Sequence[str]) -> None:
        """Look at some facts and report those that moved enough to be told."""
        with self._held(names):
            settled = {
                name: self._settle(name, value)
                for name, value in self._look(names)['facts'].items()
            }
            self._publish(settled)

    def _publish(self, facts: dict[str, Any]) -> None:
        """Report facts; with what is installed go the facts that it is spread over."""
        more: dict[str, Any] = {}
        event: dict[str, Any] = {}
        known = self._reported.get('application_digests')
        if facts.get('application_digests', known) != known:
            told = self._look(['applications'])['facts']
            if told:
                more, event = self._spread.move(told['applications'])
            else:  # it has changed again meanwhile, and cannot be told: the next time
                facts = {
                    key: facts[key] for key in facts if key != 'application_digests'
                }
        self._reported.update(facts)
        self.report_facts({**facts, **more})
        if event:
            self.report_event('applications', event)

    def _settle(self, name: str, value: Any) -> Any:
        """Return what was reported last where a value has moved a little only."""
        if value is None:
            return None
        return steady.RULES.get(name, steady.plain)(self._reported.get(name), value)

    def _look(self, names: Iterable[str]) -> dict[str, Any]:
        """Ask the collectors; one that fails does not concern the others."""
        facts: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name in names:
            try:
                facts[name] = self.collectors[name]()
            except (OSError, ValueError, LookupError) as error:
                problems[name] = f'{type(error).__name__}: {error}'
                if name not in self._problems:
                    LOG.warning('%s cannot be told: %s', name, problems[name])
        with self._problems_lock:
            # Replaced, never changed: health() reads it from other threads.
            self._problems = {
                **{
                    name: text
                    for name, text in self._problems.items()
                    if name not in facts
                },
                **problems,
            }
        return {'facts': facts, 'problems': problems}
