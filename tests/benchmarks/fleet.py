# SPDX-License-Identifier: Apache-2.0
"""Many guests in one process: each with the agent's own bus, reporter and spool.

``python fleet.py URL FOLDER PREFIX COUNT``: connects them over CONNECT_SECONDS, then
each reports an event every EVENT_SECONDS until SIGUSR1.  It prints a line of JSON, what
:func:`_count` returns, twice a second.
"""

import json
import pathlib
import random
import resource
import signal
import sys

from guestagent import loop as loops
from guestagent.agent import identity, reporter
from guestagent.bus import amqp_factory
from guestagent.conf import agent, config

CONNECT_SECONDS = 20.0
EVENT_SECONDS = 5.0


class Guest:
    """What an agent has for its reports, without extensions and commands."""

    def __init__(self, loop: loops.Loop, conf: config.Config, name: str) -> None:
        self._loop = loop
        self.events = 0
        self.bus = amqp_factory.make(conf, loop, name, prefetch=8)
        self.reporter = reporter.Reporter(
            loop,
            self.bus,
            identity.Identity(name),
            reporter.Limits(
                interval=conf.reports.heartbeat_interval,
                splay=conf.reports.splay,
                rate=conf.spool.send_rate,
            ),
            dict,
        )

    def start(self, path: pathlib.Path) -> None:
        """Connect, and report as an agent that starts."""
        self.reporter.restore(str(path))
        self.bus.start(lambda delivery: delivery.acknowledge(), self.reporter.connected)
        self.reporter.report_facts('fleet', {f'fact-{n}': n for n in range(20)})
        self.reporter.start()

    def report(self) -> None:
        """Report the next event."""
        self.events += 1
        self.reporter.report_event('fleet', 'event', {'n': self.events})


def _count(guests: list[Guest]) -> dict[str, int]:
    """Return how many guests are where, and how many events they have reported.

    ``complete`` are those that have told all since their last connect.
    """
    return {
        'connected': sum(guest.bus.connected for guest in guests),
        'connects': sum(guest.bus.connects for guest in guests),
        'complete': sum(
            guest.bus.connected
            and guest.reporter.idle
            and guest.reporter.sent['facts'] >= guest.bus.connects
            for guest in guests
        ),
        'events': sum(guest.events for guest in guests),
    }


def main(url: str, folder: str, prefix: str, count: int) -> None:
    """Run until SIGTERM ends the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    conf = config.Config()
    agent.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override('transport_url', url)
    loop = loops.Loop()
    guests = [Guest(loop, conf, f'{prefix}-{number}') for number in range(count)]
    reporting = True

    def stop(_number: int) -> None:
        nonlocal reporting
        reporting = False

    def report(guest: Guest) -> None:
        if reporting:
            guest.report()
            loop.call_later(EVENT_SECONDS, lambda: report(guest))

    def start(guest: Guest, number: int) -> None:
        guest.start(pathlib.Path(folder, f'{prefix}-{number}'))
        report(guest)

    def show() -> None:
        print(json.dumps(_count(guests)), flush=True)
        loop.call_later(0.5, show)

    loop.catch_signals((signal.SIGUSR1,), stop)
    for number, guest in enumerate(guests):
        wait = CONNECT_SECONDS * random.random() * count / 1000
        loop.call_later(wait, lambda guest=guest, number=number: start(guest, number))
    show()
    loop.run()


if __name__ == '__main__':
    main(*sys.argv[1:4], int(sys.argv[4]))
