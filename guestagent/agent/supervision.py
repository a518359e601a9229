# SPDX-License-Identifier: Apache-2.0
"""Tell systemd how the agent is: started, alive, reloading, stopping.

The agent is ready when its extensions have started; the bus may be away, and the
status line says so.  The watchdog is fed at half its time, each time after a ping has
passed the dispatcher and a thread of the pool has called back: a loop that hangs, or a
step that fails, lets systemd restart the agent; a command that hangs does not, as long
as a worker is left for the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from guestagent import loop as loops
from guestagent import systemd
from guestagent.agent import pool
from guestagent.agent import request as requests

LOG = logging.getLogger(__name__)

#: How often the status line is looked at, in seconds, where no watchdog is wanted.
STATUS_INTERVAL = 30.0


class _Probe(requests.Door):
    """Where the watchdog's ping comes from."""

    __slots__ = ('answered',)

    own = True

    def __init__(self) -> None:
        self.answered = False

    def answer(self, request: requests.Request, outcome: requests.Outcome) -> bool:
        """See the base class; the answer comes while the request is submitted."""
        self.answered = outcome.status == requests.DONE
        return True


def answers(submit: Callable[[requests.Request], None]) -> bool:
    """Whether a ping through the dispatcher is answered, at once."""
    probe = _Probe()
    submit(
        requests.Request(
            None,
            'oslo_rpc_server_ping',
            '1.0',
            {},
            caller='',
            command_id='watchdog',
            id_given=False,
            values={},
            door=probe,
        )
    )
    return probe.answered


def go_round(
    loop: loops.Loop,
    workers: pool.Pool,
    submit: Callable[[requests.Request], None],
    arrived: Callable[[], None],
) -> None:
    """Ping through the dispatcher, then through the pool; call back on the loop.

    What does not answer does not call back.
    """
    if answers(submit):
        # Not as one of its workers: they may all be busy, and rightly so.
        workers.urge(lambda _: loop.call_soon(arrived), None)


class Supervision:
    """Speaks to systemd; where nobody listens it does nothing and wakes nobody.

    :param probe: calls back, on the loop, if the agent does its work.
    :param status: returns one line for ``systemctl status``.
    """

    def __init__(
        self,
        loop: loops.Loop,
        probe: Callable[[Callable[[], None]], None],
        status: Callable[[], str],
        notifier: systemd.Notifier | None = None,
    ) -> None:
        self._loop = loop
        self._probe = probe
        self._status = status
        self._notifier = notifier or systemd.Notifier()
        self._answered = True

    def start(self) -> None:
        """The agent has started."""
        self._notifier.ready()
        if self._notifier.enabled:
            self._look()

    def update(self) -> None:
        """Something may have changed that the status line tells."""
        if self._notifier.enabled:
            self._notifier.status(self._status())

    def reload(self, work: Callable[[], None]) -> None:
        """Do the work of a reload."""
        self._notifier.reloading()
        work()
        self._notifier.ready()

    def stop(self) -> None:
        """The agent begins to stop."""
        self._notifier.stopping()

    def _look(self) -> None:
        watchdog = self._notifier.watchdog
        self._loop.call_later(watchdog / 2 if watchdog else STATUS_INTERVAL, self._look)
        self.update()
        if watchdog:
            if not self._answered:
                LOG.error('the dispatcher does not answer: the watchdog is not fed')
            self._answered = False
            self._probe(self._feed)

    def _feed(self) -> None:
        self._answered = True
        self._notifier.alive()
        LOG.debug('the watchdog is fed')
