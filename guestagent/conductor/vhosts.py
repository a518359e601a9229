# SPDX-License-Identifier: Apache-2.0
"""Take the reports of guests that are each alone in a virtual host.

A connection reaches one virtual host, so each such guest costs the conductor a
connection and a thread; beyond ``[conductor] max_vhosts`` their reports stay in their
queues, and the log says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from guestagent import logs
from guestagent.conductor import broker, listener

LOG = logging.getLogger(__name__)

#: How often it is looked which virtual hosts there are, in seconds.
LOOK = 1.0

#: Makes a listener of these hosts, which is not yet started.
Make = Callable[[Sequence[broker.Host]], listener.Listener]


class Vhosts:
    """The thread that starts and stops a listener for each virtual host.

    :param wanted: returns the instances by their virtual hosts.
    :param hosts: the brokers.
    :param limit: how many listeners there may be.
    """

    def __init__(
        self,
        wanted: Callable[[], Mapping[str, str]],
        hosts: Sequence[broker.Host],
        make: Make,
        limit: int,
    ) -> None:
        self._wanted = wanted
        self._hosts = hosts
        self._make = make
        self._limit = limit
        self._listeners: dict[str, listener.Listener] = {}
        self._log_limit = logs.RateLimit(600)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='vhosts', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Let the batches in hand end; return whether that was in time."""
        deadline = time.monotonic() + seconds
        self._stopping.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        left = list(self._listeners.values())
        for one in left:
            one.stop(0)
        ended = [one.stop(max(0.0, deadline - time.monotonic())) for one in left]
        return all(ended)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK):
            try:
                self._look()
            except Exception:  # The boundary of a thread: it must go on.
                LOG.exception('looking for virtual hosts failed in an unforeseen way')

    def _look(self) -> None:
        wanted = self._wanted()
        for vhost in self._listeners.keys() - wanted.keys():
            # A daemon thread: it ends by itself.
            self._listeners.pop(vhost).stop(0)
        for vhost in sorted(wanted.keys() - self._listeners.keys()):
            if len(self._listeners) >= self._limit:
                self._complain(len(wanted))
                return
            hosts = [_within(host, vhost) for host in self._hosts]
            self._listeners[vhost] = made = self._make(hosts)
            made.start()

    def _complain(self, number: int) -> None:
        if self._log_limit.allow('limit') is not None:
            LOG.error(
                '%d guests have a virtual host of their own, and [conductor] '
                'max_vhosts is %d: the reports of the others are not taken',
                number,
                self._limit,
            )


def _within(host: broker.Host, vhost: str) -> broker.Host:
    """Return the same broker's other virtual host."""
    parameters = {**host.parameters, 'virtual_host': vhost}
    return broker.Host(f'{host.name}, virtual host {vhost}', parameters)
