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
from typing import NamedTuple

from guestagent import logs
from guestagent.conductor import broker, listener

LOG = logging.getLogger(__name__)

#: How often it is looked which virtual hosts there are, in seconds.
LOOK = 1.0

#: Makes a listener of these hosts, which is not yet started.
Make = Callable[[Sequence[broker.Host]], listener.Listener]


class Numbers(NamedTuple):
    """How many virtual hosts of guests there are.

    :ivar listening: reports are taken as they come.
    :ivar away: there is a listener, and it is not yet so far, or not any more.
    :ivar beyond: there is none, for there are too many.
    """

    listening: int
    away: int
    beyond: int


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
        self._former = listener.Counted()
        self._beyond = 0
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

    def hosts_of(self, instance: str) -> list[broker.Host]:
        """Return where an instance is that is alone; none: with others."""
        found = [vhost for vhost, who in self._wanted().items() if who == instance]
        return within(self._hosts, found[0]) if found else []

    def listened(self) -> dict[str, float]:
        """Return of each instance for how many seconds its reports have been taken.

        Those beyond the limit are not among them: nobody will ever hear them.
        """
        wanted = self._wanted()
        return {
            wanted[vhost]: one.listened()
            for vhost, one in list(self._listeners.items())
            if vhost in wanted
        }

    def numbers(self) -> Numbers:
        """Return how many there are; from any thread."""
        listeners = list(self._listeners.values())
        listening = sum(one.listened() > 0 for one in listeners)
        return Numbers(listening, len(listeners) - listening, self._beyond)

    def counted(self) -> listener.Counted:
        """Return what all listeners have counted, former ones too; from any thread."""
        counted = self._former
        for one in list(self._listeners.values()):
            counted += one.counted()
        return counted

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
            ended = self._listeners.pop(vhost)
            ended.stop(0)
            self._former += ended.counted()
        self._beyond = max(0, len(wanted) - self._limit)
        for vhost in sorted(wanted.keys() - self._listeners.keys()):
            if len(self._listeners) >= self._limit:
                self._complain(len(wanted))
                return
            self._listeners[vhost] = made = self._make(within(self._hosts, vhost))
            made.start()

    def _complain(self, number: int) -> None:
        if self._log_limit.allow('limit') is not None:
            LOG.error(
                '%d guests have a virtual host of their own, and [conductor] '
                'max_vhosts is %d: the reports of the others are not taken',
                number,
                self._limit,
            )


def within(hosts: Sequence[broker.Host], vhost: str) -> list[broker.Host]:
    """Return another virtual host of the same brokers."""
    return [
        broker.Host(
            f'{host.name}, virtual host {vhost}',
            {**host.parameters, 'virtual_host': vhost},
        )
        for host in hosts
    ]
