# SPDX-License-Identifier: Apache-2.0
"""A large file that guestctl pulls out of a guest, and what memory that takes there.

guestctl and the agent are those of the environment that runs the benchmarks, the broker
is one with its defaults.
"""

import contextlib
import filecmp
import os
import pathlib
import re
import statistics
import tempfile
import time
from collections.abc import Iterator

from devstack import processes, servers, stack
from tests.benchmarks import bed, process, registry, report

MIB = 1024 * 1024
#: The file, in MiB, and the one that is pulled before it.
LARGE, QUICK, SMALL = 1024, 256, 32

_BLOCK = 16


class _Guest:
    """An agent with ``file`` in its process, and files to pull."""

    def __init__(self, folder: pathlib.Path, url: str, large: int) -> None:
        self._folder, self._url = folder, url
        self._agent = stack.Agent(
            folder, url, 'file-1', {'DEFAULT': {'enabled_extensions': 'file'}}
        )
        block = os.urandom(_BLOCK * MIB)
        for name, size in (('large', large), ('small', SMALL)):
            with open(folder / name, 'wb') as file:
                for _ in range(size // _BLOCK):
                    file.write(block)

    def wait_ready(self) -> None:
        """Wait until it takes requests."""
        self._agent.wait_ready()

    def pull(self, name: str) -> float:
        """Pull a file, and return the seconds that guestctl took.

        :raises devstack.processes.Failed: it did not come as it is.
        """
        began = time.perf_counter()
        done = stack.guestctl(
            self._url,
            *('file', 'pull', 'file-1'),
            str(self._folder / name),
            str(self._folder / 'copy'),
            seconds=300,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise processes.Failed(f'guestctl: {done.stderr}')
        if not filecmp.cmp(self._folder / name, self._folder / 'copy', shallow=False):
            raise processes.Failed('what was pulled is not what is there')
        (self._folder / 'copy').unlink()
        return seconds

    def memory(self) -> float:
        """Return the resident memory of the agent, in MiB."""
        return process.memory(self._agent.pid).rss

    def peak(self) -> float:
        """Return the most that it has ever been, in MiB."""
        text = pathlib.Path(f'/proc/{self._agent.pid}/status').read_text()
        found = re.search(r'^VmHWM:\s+(\d+) kB$', text, re.MULTILINE)
        if found is None:
            raise processes.Failed('the kernel does not tell VmHWM')
        return int(found[1]) / 1024

    def kill(self) -> None:
        """End it."""
        self._agent.kill()


@registry.benchmark('file-pull', 'file-pull-rss')
def pull(ground: bed.Bed) -> Iterator[report.Row]:
    """``guestctl file pull`` of one large file, from its start to its end."""
    size = QUICK if ground.quick else LARGE
    with contextlib.ExitStack() as stopping:
        folder = pathlib.Path(stopping.enter_context(tempfile.TemporaryDirectory()))
        # Not the bed's: parts of hundreds of KiB crawl through its small buffers.
        broker = servers.RabbitMQ(folder / 'rabbitmq')
        stopping.callback(broker.stop)
        guest = _Guest(folder, broker.url, size)
        stopping.callback(guest.kill)
        guest.wait_ready()
        idle = guest.memory()
        guest.pull('small')
        first = guest.peak()
        seconds = [guest.pull('large') for _ in range(ground.rounds(3))]
        last, after = guest.peak(), guest.memory()
    rates = sorted(size * MIB / each / 1e6 for each in seconds)
    yield report.Row(
        name='file-pull',
        ours=statistics.median(rates),
        peer=0,
        unit='MB/s',
        ratio=None,
        target=report.Target('ours', '>=', 60),
        note=f'no peer; {size} MiB, in plain, from the start of guestctl to its end; '
        f'load {os.getloadavg()[0]:.1f}; rounds: {len(rates)}, '
        f'{rates[0]:.1f} to {rates[-1]:.1f}',
    )
    yield report.Row(
        name='file-pull-rss',
        ours=last - first,
        peer=first - idle,
        unit='MiB',
        ratio=None,
        target=report.Target('ours', '<=', 10),
        note=f"how much higher the agent's peak is after {size} MiB than after the "
        f'first {SMALL} MiB, which took so much (peer); it was {idle:.0f} MiB when '
        f'idle, {last:.0f} at its peak and {after:.0f} in the end',
    )
