# SPDX-License-Identifier: Apache-2.0
"""What it takes to know the guest: one look at everything, and two idle minutes."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.benchmarks import bed, process, registry, report

ROUNDS = 5
#: Seconds until the first looks of a new agent are over.
SETTLE = 10.0
SECONDS = 120.0

#: A new process that looks at all that is reported but the updates, which are looked at
#: where lists have changed; twice, and with what its children take.
LOOK = """
import json, resource
from guestagent_monitoring.extension import Monitoring
from oslo_config import cfg
from guestagent import extension

def spent():
    told = [resource.getrusage(who) for who in
            (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in told)

conf = cfg.ConfigOpts()
conf.register_opts(Monitoring.list_options(), group='monitoring')
conf([], default_config_files=[], default_config_dirs=[])
monitoring = Monitoring('monitoring', conf.monitoring, extension.Host())
marks = [spent()]
for _ in range(2):
    monitoring.collect()
    monitoring.collect_rest()
    monitoring.collect_statistics()
    marks.append(spent())
assert monitoring.health() == 'ok', monitoring.health()
print(json.dumps([1000 * (marks[n + 1] - marks[n]) for n in range(2)]))
"""


@registry.benchmark('monitoring-look')
def look(ground: bed.Bed) -> Iterator[report.Row]:
    """One look at everything by a process that has never looked, and its second."""
    looks = []
    for _ in range(ground.rounds(ROUNDS)):
        done = subprocess.run(
            [sys.executable, '-c', LOOK], capture_output=True, check=True
        )
        looks.append(json.loads(done.stdout))
    first, second = (statistics.median(each) for each in zip(*looks, strict=True))
    yield report.Row(
        name='monitoring-look',
        ours=first,
        peer=second,
        unit='ms',
        ratio=None,
        target=report.Target('ours', '<', 150),
        note='no peer; processor time of the first look at all that is reported, with '
        f'its imports, and of the second (peer); rounds: {len(looks)}',
    )


@registry.benchmark('monitoring-idle')
def idle(ground: bed.Bed) -> Iterator[report.Row]:
    """What share of a processor an idle agent takes, at the default periods."""
    server = ground.start(bed.OURS, bed.PLAIN)
    time.sleep(SETTLE)
    seconds = 10.0 if ground.quick else SECONDS
    before, began = process.cpu_ns(server.pid), time.monotonic_ns()
    time.sleep(seconds)
    taken = process.cpu_ns(server.pid) - before
    share = 100 * taken / (time.monotonic_ns() - began)
    ground.stop_servers()
    yield report.Row(
        name='monitoring-idle',
        ours=share,
        peer=0,
        unit='%',
        ratio=None,
        target=report.Target('ours', '<', 0.2),
        note=f'no peer; of one processor, over {seconds:.0f} s, with extensions '
        f'{", ".join(bed.PLAIN)}',
    )
