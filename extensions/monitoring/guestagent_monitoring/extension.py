# SPDX-License-Identifier: Apache-2.0
"""``monitoring``: report what the guest is and has, again when it changes."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from guestagent import errors, extension
from guestagent_monitoring import conf as options
from guestagent_monitoring import steady, watch
from guestagent_monitoring.collectors import filesystems, memory, nics, system

LOG = logging.getLogger(__name__)


class Monitoring(extension.Extension):
    """Answers ``monitoring.facts`` and ``monitoring.refresh``; reports by itself.

    :ivar collectors: for each fact, by name, what tells its present value.
    """

    version = '1.0'
    options = options.OPTIONS

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self.collectors: dict[str, Callable[[], Any]] = {
            'hostname': system.hostname,
            'os': system.operating_system,
            'kernel': system.kernel,
            'architecture': system.architecture,
            'cpus': system.cpus,
            'boot_time': system.boot_time,
            'memory': memory.memory,
            'swap': memory.swap,
            'nics': functools.partial(nics.nics, conf.ignored_interfaces),
            'filesystems': functools.partial(
                filesystems.filesystems,
                ignored_mounts=conf.ignored_mounts,
                ignored_types=conf.ignored_filesystem_types,
            ),
        }
        # One look at a time, or an older one could be reported last.
        self._lock = threading.Lock()
        self._reported: dict[str, Any] = {}
        self._problems: dict[str, str] = {}
        self._watch: watch.Watch | None = None

    def start(self) -> None:
        """Begin to listen for what the kernel announces."""
        if self.conf.watch_changes:
            self._watch = watch.Watch(
                watch.open_sources(), self._report, self.conf.change_delay
            )
            self._watch.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._watch is not None:
            self._watch.stop()

    def health(self) -> str:
        """Return which facts cannot be told, and why."""
        problems = self._problems
        return '; '.join(f'{name}: {problems[name]}' for name in problems) or 'ok'

    @extension.command(mutates=False, timeout=30)
    def facts(
        self,
        context: extension.Context,
        prefix: str = '',
        names: list[str] | None = None,
    ) -> dict[str, Any]:
        """Return the facts as they are now; nothing is reported.

        Only those whose names begin with ``prefix`` and, if given, are among
        ``names``.  The result is ``{facts: {name: value}, problems: {name: text}}``;
        the second says which could not be told.

        :raises guestagent.errors.InvalidArgument: there is no such fact.
        """
        for name in names or ():
            if name not in self.collectors:
                raise errors.InvalidArgument(
                    f'names: there is no fact {name!r}, but '
                    f'{", ".join(self.collectors)}'
                )
        with self._lock:
            return self._look(
                name
                for name in self.collectors
                if name.startswith(prefix) and (names is None or name in names)
            )

    @extension.command(mutates=False, timeout=30)
    def refresh(self, context: extension.Context) -> dict[str, Any]:
        """Look at everything now, report what changed, however little; return it all.

        The result is that of ``facts``.
        """
        with self._lock:
            seen = self._look(self.collectors)
            self._reported.update(seen['facts'])
            self.report_facts(seen['facts'])
        return seen

    @extension.periodic(spacing=60, option='period')
    def collect(self) -> None:
        """Look at everything and report what changed."""
        self._report(self.collectors)

    def _report(self, names: Iterable[str]) -> None:
        """Look at some facts and report those that moved enough to be told."""
        with self._lock:
            settled = {
                name: steady.RULES.get(name, steady.plain)(
                    self._reported.get(name), value
                )
                for name, value in self._look(names)['facts'].items()
            }
            self._reported.update(settled)
            self.report_facts(settled)

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
        # Replaced, never changed: health() reads it from other threads.
        self._problems = {
            **{
                name: text for name, text in self._problems.items() if name not in facts
            },
            **problems,
        }
        return {'facts': facts, 'problems': problems}
