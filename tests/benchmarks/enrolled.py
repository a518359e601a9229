# SPDX-License-Identifier: Apache-2.0
"""Guests in one process, each with its own account: ``python enrolled.py FILE``.

A line of FILE is an instance id and its transport URL.  It prints how many have ever
connected, twice a second, until SIGTERM.
"""

import pathlib
import sys

from guestagent import loop as loops
from guestagent.bus import amqp_factory, base
from guestagent.conf import agent, config


def main(path: str) -> None:
    """Connect all, and keep them connected."""
    loop = loops.Loop()
    buses: list[base.Bus] = []
    for line in pathlib.Path(path).read_text().splitlines():
        instance, url = line.split()
        conf = config.Config()
        agent.register(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        conf.set_override('transport_url', url)
        conf.set_override('amqp_durable_queues', True, 'oslo_messaging_rabbit')
        buses.append(amqp_factory.make(conf, loop, instance, prefetch=8))

    def show() -> None:
        print(sum(bus.connected for bus in buses), flush=True)
        loop.call_later(0.5, show)

    for number, bus in enumerate(buses):
        loop.call_later(
            number / 50,
            lambda bus=bus: bus.start(
                lambda delivery: delivery.acknowledge(), lambda: None
            ),
        )
    show()
    loop.run()


if __name__ == '__main__':
    main(sys.argv[1])
