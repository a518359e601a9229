# SPDX-License-Identifier: Apache-2.0
"""Many guests that do nothing, in one process: each with the agent's own bus.

Usage: ``guests.py TRANSPORT_URL COUNT``.  It says ``connected`` when all are, and stays
until it is killed.
"""

import logging
import resource
import sys

from guestagent import loop as loops
from guestagent.bus import factory
from guestagent.conf import agent, config

#: How many connect at the same time.
AT_ONCE = 20


class Fleet:
    """Starts one bus after the other."""

    def __init__(self, url: str, count: int) -> None:
        self._conf = config.Config()
        agent.register(self._conf)
        self._conf.load([], prog='guests', name='guests', description='')
        self._conf.set_override('transport_url', url)
        self._count = count
        self._loop = loops.Loop()
        self._started = 0
        self._connected = 0

    def run(self) -> None:
        """Connect all, and stay."""
        for _ in range(min(AT_ONCE, self._count)):
            self._start()
        self._loop.run()

    def _start(self) -> None:
        name = f'idle-{self._started}'
        self._started += 1
        bus = factory.make(self._conf, self._loop, name)
        bus.start(lambda _delivery: None, self._next)

    def _next(self) -> None:
        self._connected += 1
        if self._started < self._count:
            self._start()
        elif self._connected == self._count:
            print('connected', flush=True)


def main() -> None:
    """Serve until the process is killed."""
    logging.basicConfig(level=logging.ERROR)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Fleet(sys.argv[1], int(sys.argv[2])).run()


main()
