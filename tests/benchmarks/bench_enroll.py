# SPDX-License-Identifier: Apache-2.0
"""What it takes to enrol guests, and what each model costs for each of them."""

import dataclasses
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

from devstack import processes, servers, stack
from guestagent import client
from guestagent.bus import once
from guestagent.conf import agent, config
from guestagent.ctl import accounts, enroller, models, rabbitmq
from guestagent.enroll import exchange, token
from guestagent.seal import keys
from tests.benchmarks import bed, bench_broker, process, registry, report

INSTANCES = 100
#: The most that each may cost, in KiB of the broker.
KIB = {'shared': 200.0, 'exchange': 250.0, 'vhost': 1000.0}

_GUESTS = pathlib.Path(__file__).with_name('enrolled.py')


@dataclasses.dataclass
class Cost:
    """What a model costs.

    :ivar seconds: for all instances.
    :ivar broker: bytes for each guest.
    :ivar conductor: MiB for each.
    :ivar threads: of the conductor, for all.
    """

    seconds: float
    broker: float
    conductor: float
    threads: int


class _Site:
    """A broker, a conductor with keys, and an operator."""

    def __init__(self, folder: pathlib.Path, model: str) -> None:
        self.folder = folder
        self.broker = servers.RabbitMQ(
            folder / 'rabbitmq', servers.SMALL_BUFFERS, management=True
        )
        durable = {'oslo_messaging_rabbit': {'amqp_durable_queues': True}}
        lines = [
            keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32)),
            keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32)),
        ]
        path = folder / 'conductor.keys'
        path.write_text(f'{lines[1]}\n')
        path.chmod(0o600)
        self.conductor = stack.Conductor(
            folder, self.broker.url, {'seal': {'key_file': path}, **durable}
        )
        self.conductor.wait_ready()
        self.conductor.wait_line(f'topic {exchange.TOPIC}')
        self.client = client.Client(url=f'{self.broker.url}?amqp_durable_queues=true')
        self.enroller = enroller.Enroller(
            accounts.Settings(
                model=model,
                guest_url=self.broker.url,
                token_url=self.broker.url.replace('guest:guest', 'enroll:secret'),
                queue_length=1000,
                vhost_users=['guest'],
            ),
            lines,
            rabbitmq.Api(self.broker.management_url),
            self.client.conductor.operate,
        )
        self.conf = config.Config()
        agent.register(self.conf)
        self.conf([], default_config_files=[], default_config_dirs=[])

    def close(self) -> None:
        """End all."""
        self.client.close()
        self.conductor.kill()
        self.broker.kill()

    def enrol(self, instance: str) -> str:
        """Do all that it takes, as guestctl and the guest; return the guest's URL."""
        made = self.enroller.enroll(instance, 600)
        return _exchange(self.conf, made).url or self.broker.url


def _exchange(conf: config.Config, made: token.Token) -> exchange.Bundle:
    guest = exchange.Guest(made.instance, made.secret, os.urandom(32))
    connection = once.connect(conf, made.url, made.instance)
    args = {'instance': made.instance, 'value': guest.request()}
    call = {
        'namespace': exchange.NAMESPACE,
        'method': exchange.METHOD,
        'version': exchange.VERSION,
        'args': args,
    }
    try:
        return guest.open(
            once.ask(connection, exchange.TOPIC, call, exchange.REPLY_QUEUE, 30)
        )
    finally:
        connection.collect()


def _measure(model: str, instances: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix='guestagent-bench-') as name:
        site = _Site(pathlib.Path(name), model)
        try:
            site.enrol('warm')  # the first makes exchanges, and the node load code
            time.sleep(bench_broker.SETTLE)
            before = bench_broker.memory_of(site.broker)
            pid = site.conductor.pid
            own, threads = process.memory(pid).rss, process.threads(pid)
            begin = time.perf_counter()
            urls = {f'vm-{n}': site.enrol(f'vm-{n}') for n in range(instances)}
            seconds = time.perf_counter() - begin
            guests = _connect(site.folder, urls)
            time.sleep(bench_broker.SETTLE)
            try:
                return Cost(
                    seconds,
                    (bench_broker.memory_of(site.broker) - before) / instances,
                    (process.memory(pid).rss - own) / instances,
                    process.threads(pid) - threads,
                )
            finally:
                guests.kill()
        finally:
            site.close()


def _connect(folder: pathlib.Path, urls: dict[str, str]) -> processes.Process:
    """Connect all guests; return when all are."""
    path = folder / 'guests'
    path.write_text(''.join(f'{name} {url}\n' for name, url in urls.items()))
    child = processes.Process(
        'guests',
        [sys.executable, _GUESTS, path],
        folder / 'guests.log',
        env={**os.environ, 'PYTHONPATH': str(_GUESTS.parents[2])},
    )
    child.wait_line(rf'^{len(urls)}$', 120)
    return child


@registry.benchmark(*(f'enroll-{name}' for name in models.MODELS))
def enroll(ground: bed.Bed) -> Iterator[report.Row]:
    """Enrol instances one after the other in each model, and connect them."""
    instances = INSTANCES // 5 if ground.quick else INSTANCES
    for model in models.MODELS:
        cost = _measure(model, instances)
        kib = cost.broker / 1024
        yield report.Row(
            name=f'enroll-{model}',
            ours=kib,
            peer=cost.seconds,
            unit='KiB',
            ratio=None,
            target=report.Target('ours', '<=', KIB[model]),
            note=f"of the broker for each connected guest; 'peer' is the seconds to "
            f'enrol {instances}; the conductor: {1024 * cost.conductor:.0f} KiB for '
            f'each, {cost.threads} threads',
        )
