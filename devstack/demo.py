# SPDX-License-Identifier: Apache-2.0
"""The demo: a bus, a conductor, an agent, and two who talk to the guest.

Every command that it shows is run as it is shown, and what stands below it is what it
printed.  The exit code is 0 after Ctrl-C or SIGTERM, at any moment, and 1 when a step
failed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import types
from typing import Self

from devstack import processes, servers, stack

INSTANCE = 'vm-1'

#: What may carry the messages: the project's own hub, or a private RabbitMQ node.
BUSES = ('hub', 'rabbit')

_CLIENT = os.path.relpath(pathlib.Path(__file__).with_name('stock_client.py'))

_GOODBYE = """
All of it keeps running.  To talk to it from another shell:

    export {variable}={url}
    export PATH={scripts}:$PATH
    guestctl instance list
    guestctl exec {instance} -- id

Logs and configuration are in {folder}.
Ctrl-C stops everything.
"""


class Demo:
    """The running pieces, and the steps that show what they do.

    :param bus: one of :data:`BUSES`.
    :ivar step: the title of the step that is shown now.
    """

    def __init__(self, folder: pathlib.Path, bus: str) -> None:
        self.step = ''
        self._folder = folder
        self._bus = bus
        self._stopping = contextlib.ExitStack()
        self._number = 0
        self._processes: dict[str, processes.Process] = {}
        self._url = ''

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        # A second Ctrl-C must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if error is None:
            self.step = 'Stop everything'
        _print('\n=== Stop everything')
        self._stopping.close()

    def show(self) -> None:
        """Go through all steps.

        :raises devstack.processes.Failed: one did not do what it should.
        """
        self._start_all()
        self._ask()
        self._lose_the_agent()

    def stay(self) -> None:
        """Say how to talk to it, and wait until a piece ends, or for ever.

        :raises devstack.processes.Failed: a piece ended.
        """
        self.step = 'keep running'
        _print(
            _GOODBYE.format(
                variable=stack.URL_VARIABLE,
                url=self._url,
                instance=INSTANCE,
                scripts=stack.script('').resolve(),
                folder=self._folder,
            )
        )
        while True:
            for process in self._processes.values():
                if not process.running:
                    raise processes.Failed(f'it ended by itself\n{process.tail()}')
            time.sleep(0.5)

    def _start_all(self) -> None:
        if self._bus == 'rabbit':
            self._start_rabbit()
        else:
            self._start_hub()

        self._begin('Start a conductor with SQLite')
        conductor = stack.Conductor(self._folder, self._url)
        self._keep('conductor', conductor)
        conductor.wait_ready()

        self._begin(f'Start an agent as the guest "{INSTANCE}"')
        self._start_agent()

    def _start_hub(self) -> None:
        self._begin('Start a hub: it carries the messages, without a broker')
        hub = stack.Hub(self._folder, '--guest', INSTANCE)
        self._keep('hub', hub)
        self._url = hub.url

    def _start_rabbit(self) -> None:
        self._begin('Start a private RabbitMQ node')
        broker = servers.RabbitMQ(self._folder / 'rabbitmq')
        self._stopping.callback(broker.stop)
        self._url = broker.url
        _print(f'It listens on 127.0.0.1:{broker.port}, process {broker.pid}.')

    def _ask(self) -> None:
        self._begin('The conductor knows the guest')
        self._wait_for_state('UP')
        self._guestctl('instance', 'list')
        self._wait_for_facts()
        self._guestctl('facts', INSTANCE, '--max-width', '100')
        self._guestctl('extension', 'list', INSTANCE)

        self._begin('Run a command in the guest')
        self._guestctl('exec', INSTANCE, '--', 'uname', '-a')

        self._begin('The same from a program that knows only oslo.messaging')
        self._run(['cat', _CLIENT])
        self._run([sys.executable, _CLIENT, self._url, INSTANCE, 'uname', '-a'])

        self._begin(
            'A cast: it is sent and left alone, and its outcome comes back '
            'through the conductor'
        )
        self._guestctl(
            'cast',
            INSTANCE,
            'exec.run',
            'argv=["sh", "-c", "sleep 1; echo done at $(date +%T)"]',
            '--wait',
            '-f',
            'yaml',
        )

    def _lose_the_agent(self) -> None:
        self._begin('Kill the agent: three heartbeats later the guest is DOWN')
        agent = self._processes['agent']
        _print(f'$ kill -9 -- -{agent.pid}')
        agent.kill()
        self._wait_for_state('DOWN')
        self._guestctl('instance', 'list')

        self._begin('Start it again: the guest is UP')
        self._start_agent()
        self._wait_for_state('UP')
        self._guestctl('instance', 'list')

    def _begin(self, title: str) -> None:
        self._number += 1
        self.step = title
        _print(f'\n=== {self._number}. {title}')

    def _start_agent(self) -> None:
        agent = stack.Agent(self._folder, self._url, INSTANCE)
        self._keep('agent', agent)
        agent.wait_ready()
        _print(
            'It has [seal] allow_plain = true: nobody on this bus is a stranger.\n'
            'Elsewhere give guests keys, and commands are sealed: doc/sealing.rst'
        )

    def _keep(self, name: str, process: processes.Process) -> None:
        self._stopping.callback(process.stop)
        self._processes[name] = process
        program, *arguments = process.argv
        _print(f'$ {shlex.join([os.path.basename(program), *map(str, arguments)])}')

    def _guestctl(self, *arguments: str) -> None:
        self._run([str(stack.script('guestctl')), *arguments])

    def _run(self, argv: list[str]) -> None:
        _print(f'$ {shlex.join([os.path.basename(argv[0]), *argv[1:]])}')
        env = {
            **os.environ,
            stack.URL_VARIABLE: self._url,
            # oslo.service warns of eventlet, its default, in every program.
            'PYTHONWARNINGS': 'ignore',
        }
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
        if done.returncode != 0:
            logs = '\n'.join(child.tail() for child in self._processes.values())
            raise processes.Failed(f'exit code {done.returncode}\n{logs}')

    def _wait_for_state(self, state: str) -> None:
        processes.wait_for(
            lambda: any(
                INSTANCE in row.values() and state in row.values()
                for row in self._rows('instance', 'list')
            ),
            f'{INSTANCE} is {state}',
            spacing=0.3,
        )

    def _wait_for_facts(self) -> None:
        processes.wait_for(
            lambda: self._rows('facts', INSTANCE),
            f'{INSTANCE} has reported facts',
            spacing=0.3,
        )

    def _rows(self, *arguments: str) -> list[dict[str, object]]:
        done = stack.guestctl(self._url, *arguments, '-f', 'json')
        return json.loads(done.stdout) if done.returncode == 0 else []


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(
        prog='devstack/demo',
        description='Show a guest agent, a conductor and an operator at work.',
    )
    parser.add_argument(
        '--once',
        action='store_true',
        help='stop after the show instead of waiting for Ctrl-C',
    )
    parser.add_argument(
        '--bus', choices=BUSES, default=BUSES[0], help='what carries the messages'
    )
    arguments = parser.parse_args()
    # Both end the show wherever it is, even where a shell had SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix='guestagent-demo-') as folder:
            return _run_in(pathlib.Path(folder), arguments.bus, arguments.once)
    except KeyboardInterrupt:
        return 0


def _run_in(folder: pathlib.Path, bus: str, once: bool) -> int:
    demo = Demo(folder, bus)
    try:
        with demo:
            demo.show()
            if not once:
                demo.stay()
    except (processes.Failed, subprocess.TimeoutExpired) as error:
        print(f'\ndevstack/demo: "{demo.step}" failed: {error}', file=sys.stderr)
        return 1
    return 0


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main())
