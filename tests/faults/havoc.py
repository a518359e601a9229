# SPDX-License-Identifier: Apache-2.0
"""A real stack, and what may happen to it: each method of Havoc is one fault."""

import os
import signal
import time

from devstack import processes, servers, stack
from tests.functional import conftest, faults, proxy

#: Events in a second of each guest.
PULSES = 5


class Stack:
    """RabbitMQ, two conductors with one database, and guests behind a proxy.

    :ivar guests: the names of the guests.
    :ivar url: where programs find the bus.
    """

    def __init__(self, folder, guests):
        self._folder = folder
        self.guests = guests
        self.rabbit = servers.RabbitMQ(folder / 'rabbitmq')
        self.url = self.rabbit.url
        self.line = proxy.Proxy(self.rabbit.port)
        self.line.__enter__()
        self._agents, self._conductors = {}, {}
        for number in range(2):
            self.start_conductor(number)
        self._conductors[0].wait_ready()
        for name in guests:
            self.start_agent(name)
        for child in self._agents.values():
            child.wait_ready()

    def agent(self, name):
        return self._agents[name]

    def conductor(self, number):
        return self._conductors[number]

    def start_agent(self, name):
        """Start an agent that has ended."""
        url = self.url.replace(f':{self.rabbit.port}/', f':{self.line.port}/')
        self._agents[name] = stack.Agent(
            self._folder,
            url,
            name,
            {
                'DEFAULT': {'enabled_extensions': 'probe'},
                'probe': {'marks': self.marks(name), 'pulse': 1 / PULSES},
                'reports': {'heartbeat_interval': 1, 'splay': 0.5},
                # Small, so that it forgets and is written anew.
                'journal': {'max_commands': 300},
                **faults.options(heartbeat_timeout_threshold=2),
            },
            conftest.PROBE,
        )

    def start_conductor(self, number):
        """Start a conductor that has ended."""
        folder = self._folder / f'conductor-{number}'
        folder.mkdir(exist_ok=True)
        database = self._folder / 'conductor.sqlite'
        self._conductors[number] = stack.Conductor(
            folder, self.url, {'database': {'connection': f'sqlite:///{database}'}}
        )

    def marks(self, name):
        """Return the file of a guest's marks."""
        return self._folder / f'{name}.marks'

    def stop_agents(self):
        """Stop them in good order, with the last of their reports."""
        for child in self._agents.values():
            child.stop(60)

    def stop(self):
        """End everything."""
        for child in [*self._agents.values(), *self._conductors.values()]:
            child.kill()
        self.line.__exit__()
        self.rabbit.kill()


class Havoc:
    """Faults; each method does one and leaves the stack whole."""

    def __init__(self, stack_of_all, dice):
        self._stack, self._dice = stack_of_all, dice

    def kill_an_agent(self):
        self._end_agent(lambda child: child.kill())

    def kill_an_agent_twice(self):
        self._end_agent(lambda child: child.kill())
        self._wait(1)
        self.kill_an_agent()

    def stop_an_agent(self):
        self._end_agent(lambda child: child.stop(60))

    def freeze_an_agent(self):
        child = self._stack.agent(self._a_guest())
        os.kill(child.pid, signal.SIGSTOP)
        self._wait(5)
        os.kill(child.pid, signal.SIGCONT)

    def kill_a_conductor(self):
        number = self._dice.randrange(2)
        self._stack.conductor(number).kill()
        self._wait(2)
        self._stack.start_conductor(number)

    def kill_both_conductors(self):
        for number in range(2):
            self._stack.conductor(number).kill()
        self._wait(5)
        for number in range(2):
            self._stack.start_conductor(number)

    def drop_connections(self):
        self._stack.rabbit.ctl('close_all_connections', '--global', 'soak')

    def reset_the_guests_connections(self):
        self._stack.line.reset()

    def swallow_what_passes(self):
        self._stack.line.hole = True
        self._wait(6)
        self._stack.line.hole = False
        # What it has swallowed is missing within a connection.
        self._stack.line.reset()

    def be_slow(self):
        self._stack.line.latency = 0.1
        self._wait(4)
        self._stack.line.latency = 0.0

    def fill_the_queue_of_reports(self):
        rabbit = self._stack.rabbit
        rabbit.ctl(
            *('set_policy', 'full', '^guestagent_reports', '{"max-length": 1}'),
            *('--apply-to', 'queues'),
        )
        for number in range(2):
            self._stack.conductor(number).kill()
        self._wait(4)
        rabbit.ctl('clear_policy', 'full')
        for number in range(2):
            self._stack.start_conductor(number)

    def restart_the_broker(self):
        self._stack.rabbit.restart()

    def kill_the_broker(self):
        self._stack.rabbit.kill()
        self._wait(2)
        self._stack.rabbit.start()

    def _end_agent(self, end):
        name = self._a_guest()
        end(self._stack.agent(name))
        self._wait(2)
        self._stack.start_agent(name)

    def _a_guest(self):
        return self._dice.choice(self._stack.guests)

    def _wait(self, seconds):
        time.sleep(self._dice.uniform(0, seconds))


#: How often each happens, beside the others.
SHARES = {
    'kill_an_agent': 10,
    'kill_an_agent_twice': 4,
    'stop_an_agent': 3,
    'freeze_an_agent': 4,
    'kill_a_conductor': 5,
    'kill_both_conductors': 2,
    'drop_connections': 4,
    'reset_the_guests_connections': 6,
    'swallow_what_passes': 4,
    'be_slow': 3,
    'fill_the_queue_of_reports': 2,
    'restart_the_broker': 1,
    'kill_the_broker': 1,
}


def run(stack_of_all, dice, seconds, say):
    """Do faults at random for so long; ``say`` is told of each."""
    havoc = Havoc(stack_of_all, dice)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(dice.uniform(0.5, 4))
        [name] = dice.choices(list(SHARES), list(SHARES.values()))
        say(name)
        getattr(havoc, name)()
    for name in stack_of_all.guests:
        stack_of_all.agent(name).wait_ready()
    for number in range(2):
        stack_of_all.conductor(number).wait_ready()


def wait_taken(url, seconds=120):
    """Wait until no report is left in the queue."""
    from tests.functional import reports

    def empty():
        with reports.Publisher(url + '/') as publisher:
            return publisher.depth() == 0

    processes.wait_for(empty, 'the queue of reports is empty', seconds, spacing=1)
