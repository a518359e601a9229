# SPDX-License-Identifier: Apache-2.0
"""What an agent costs that an oVirt host talks to, in memory and in bytes."""

import json
import pathlib
import tempfile
import time
from collections.abc import Iterator

import amqp

from guestagent.bus import topics
from tests.benchmarks import bed, process, registry, report
from tests.functional.ovirt import vdsm

ROUNDS = 5
SETTLE = 10.0
SECONDS = 120.0
EXTENSIONS = (*bed.PLAIN, 'sso', 'desktop')
#: How often a quiet guest sends each message in an hour: both as their periods say, the
#: original on every period, what it sends again.
HOURLY = {
    'heartbeat': 720,
    'host-name': 30,
    'os-version': 30,
    'network-interfaces': 30,
    'fqdn': 30,
    'containers': 30,
    'number-of-cpus': 60,
    'disks-usage': 12,
}
#: What is sent by the original only.
AGAIN = {'applications': 30}


def _options(folder: str) -> str:
    return (
        f'enabled_channels = ovirt\n{bed.OPEN}'
        f'[ovirt]\ndevice_prefix = {folder}/\n[desktop]\nfolder = {folder}/desktop\n'
        f'[sso]\nfolder = {folder}/sso\n'
    )


@registry.benchmark('ovirt-rss')
def memory(ground: bed.Bed) -> Iterator[report.Row]:
    """How much more an idle agent takes with all that an oVirt host expects."""
    samples: dict[str, list[float]] = {'without': [], 'with': []}
    for _ in range(ground.rounds(ROUNDS)):
        with tempfile.TemporaryDirectory() as folder:
            host = vdsm.Vdsm(pathlib.Path(folder))
            for name, extensions, options in (
                ('without', bed.PLAIN, ''),
                ('with', EXTENSIONS, _options(folder)),
            ):
                server = ground.start(bed.OURS, extensions, options=options)
                _listen(host, SETTLE)
                samples[name].append(process.memory(server.pid).rss)
                ground.stop_servers()
            host.close()
    more = sorted(
        mine - plain
        for mine, plain in zip(samples['with'], samples['without'], strict=True)
    )[len(samples['with']) // 2]
    yield report.Row(
        name='ovirt-rss',
        ours=more,
        peer=sorted(samples['without'])[len(samples['without']) // 2],
        unit='MiB',
        ratio=None,
        target=report.Target('ours', '<=', 2.5),
        note='how much more with sso, desktop and the channel ovirt in its process '
        f'than without (peer); a host listens; rounds: {len(samples["with"])}',
    )


@registry.benchmark('ovirt-channel-bytes', 'ovirt-bus-bytes', 'ovirt-idle')
def traffic(ground: bed.Bed) -> Iterator[report.Row]:
    """Bytes of a quiet hour, beside the original's, and the processor's time."""
    with tempfile.TemporaryDirectory() as folder:
        host = vdsm.Vdsm(pathlib.Path(folder))
        server = ground.start(bed.OURS, EXTENSIONS, options=_options(folder))
        host.connect()
        _listen(host, SETTLE)
        host.connect()
        host.wait('disks-usage', len(host.said))
        _listen(host, 1)
        size = {name: _size(name, fields) for name, fields in host.said}
        _drain(ground)
        seconds = 20.0 if ground.quick else SECONDS
        before, began = process.cpu_ns(server.pid), time.monotonic_ns()
        _listen(host, seconds)
        taken = process.cpu_ns(server.pid) - before
        share = 100 * taken / (time.monotonic_ns() - began)
        on_bus = _drain(ground) * 3600 / seconds
        host.close()
        ground.stop_servers()
    ours = sum(size.get(name, 0) * count for name, count in HOURLY.items())
    original = ours + sum(size[name] * count for name, count in AGAIN.items())
    yield report.Row(
        name='ovirt-channel-bytes',
        ours=ours / 1000,
        peer=original / 1000,
        unit='kB/h',
        ratio=ours / original,
        target=report.Target('ratio', '<=', 1),
        note='a quiet hour, from the sizes of messages and the periods of both; the '
        "original's counts the list of applications each time",
    )
    yield report.Row(
        name='ovirt-bus-bytes',
        ours=on_bus / 1000,
        peer=original / 1000,
        unit='kB/h',
        ratio=on_bus / original,
        target=report.Target('ratio', '<=', 0.1),
        note=f'bodies of reports within {seconds:.0f} s, for an hour',
    )
    yield report.Row(
        name='ovirt-idle',
        ours=share,
        peer=0,
        unit='%',
        ratio=None,
        target=report.Target('ours', '<', 0.2),
        note=f'no peer; of one processor, over {seconds:.0f} s, with extensions '
        f'{", ".join(EXTENSIONS)} and the channel, at the default periods',
    )


def _listen(host: vdsm.Vdsm, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        host.read(left)


def _size(name: str, fields: dict[str, object]) -> int:
    return len(json.dumps({**fields, '__name__': name})) + 1


def _drain(ground: bed.Bed) -> int:
    """Take the reports that wait in a queue of our own; return their bytes."""
    taken = 0
    with amqp.Connection(f'127.0.0.1:{ground.broker.port}') as connection:
        channel = connection.channel()
        queue = 'benchmark-reports'
        channel.queue_declare(queue, durable=False, auto_delete=False)
        channel.queue_bind(queue, topics.REPORT_TOPIC, topics.report_queue())
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            taken += len(message.body)
    return taken
