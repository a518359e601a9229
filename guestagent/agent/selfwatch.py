# SPDX-License-Identifier: Apache-2.0
"""What an agent knows of itself, and to whom it tells it.

Systemd hears that it lives, the conductor what it costs and what hangs, an operator
all there is to know, by ``agent.diagnose`` or SIGUSR2.
"""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guestagent import systemd
from guestagent.agent import selfcheck, supervision

if TYPE_CHECKING:
    from guestagent.agent import service

LOG = logging.getLogger(__name__)


class SelfWatch:
    """Watches an agent; it is used on the loop.

    :param notifier: who tells systemd; ``None``: one of its own.
    :ivar hangs: the workers that do not return.
    """

    def __init__(
        self, agent: service.Service, conf: Any, notifier: systemd.Notifier | None
    ) -> None:
        self._agent = agent
        self.hangs = selfcheck.Hangs(
            agent.pool, agent.registry, agent.reporter.report_event
        )
        self._statistics = selfcheck.Statistics(
            agent.reporter.report_facts,
            lambda: conf.reports.statistics_interval,
            agent.dispatcher.counts,
            self._queue,
        )
        self._supervision = supervision.Supervision(
            agent.loop, self.go_round, self._status, notifier
        )

    def start(self) -> None:
        """Tell systemd that the agent is ready, and from now on that it lives."""
        self._supervision.start()

    def stop(self) -> None:
        """Tell systemd that the agent stops."""
        self._supervision.stop()

    def update(self) -> None:
        """Tell systemd what has changed."""
        self._supervision.update()

    def reload(self, reload: Callable[[], None]) -> None:
        """Tell systemd that the configuration is read again, and read it."""
        self._supervision.reload(reload)

    def look(self) -> None:
        """Look for what hangs, and what the agent costs; with each heartbeat."""
        self.hangs.look()
        self._statistics.look()

    def go_round(self, arrived: Callable[[], None]) -> None:
        """Call back if the agent answers, and a worker is left."""
        agent = self._agent
        if not self.hangs.all_hang:
            submit = agent.dispatcher.submit
            supervision.go_round(agent.loop, agent.pool, submit, arrived)

    def diagnose(self) -> dict[str, Any]:
        """Return all there is to know."""
        from guestagent.agent import diagnosis  # most agents are never asked

        return diagnosis.diagnose(self._agent)

    def log_diagnosis(self) -> None:
        """Write all there is to know into the log."""
        from guestagent import diagnosis

        for line in diagnosis.lines(self.diagnose()):
            LOG.info('%s', line)

    def _status(self) -> str:
        agent = self._agent
        state = 'connected' if agent.bus.connected else 'not connected, trying again'
        return f'instance {agent.instance_id}; bus: {state}'

    def _queue(self) -> dict[str, int]:
        in_flight = self._agent.dispatcher.in_flight()
        running = sum(request.started is not None for request in in_flight)
        return {
            'commands_running': running,
            'commands_waiting': len(in_flight) - running,
            'reports_waiting': self._agent.reporter.waiting,
        }


def show_stacks() -> None:
    """Have Python write all stacks to standard error when the agent hangs.

    It does when systemd aborts it, and at each SIGUSR2, even if the loop, which
    writes the rest, does not turn.
    """
    if sys.stderr is not None:
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR2, chain=True)
