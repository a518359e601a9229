# SPDX-License-Identifier: Apache-2.0
"""What an extension's process may take: by a cgroup where the agent may make one.

The agent may where systemd has delegated its own cgroup to it (``Delegate=``).  It
moves into a leaf of it first, because a cgroup that has children must be empty.
Elsewhere the kernel's limits of a process are all there is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import resource
import signal
from typing import NamedTuple

LOG = logging.getLogger(__name__)

_MIB = 1024 * 1024

#: Of one processor's time, in microseconds, what ``cpu.max`` counts in.
_PERIOD = 100_000

#: Processes and threads of one extension.
_TASKS = 512

#: The marks that systemd leaves on what it has delegated.
_DELEGATED = ('trusted.delegate', 'user.delegate')


class Limits(NamedTuple):
    """0 is no limit.

    :ivar memory: MiB.
    :ivar cpu: percent of one processor; only by a cgroup.
    :ivar cpu_time: seconds of processor time, after which it is killed.
    :ivar files: how many may be open.
    """

    memory: int
    cpu: int
    cpu_time: int
    files: int


class Cgroup:
    """A cgroup (version 2) with an extension's process and all that it starts."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        # A former process's, if the cgroup could not be removed after its end.
        self._killed_before = self._killed()

    def add(self, pid: int) -> None:
        """Let a process be in it.

        :raises OSError: it cannot be.
        """
        (self._folder / 'cgroup.procs').write_text(str(pid))

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for want of memory."""
        return self._killed() > self._killed_before

    def end(self) -> None:
        """Kill all that is left in it, and remove it."""
        try:
            self._kill()
            self._folder.rmdir()
        except OSError as error:
            # A process that is just ending keeps it a moment longer; the next
            # process of the extension uses it again.
            LOG.debug('cgroup %s: %s', self._folder, error)

    def _killed(self) -> int:
        try:
            text = (self._folder / 'memory.events').read_text()
        except OSError:
            return 0
        fields = dict(line.split() for line in text.splitlines())
        return int(fields.get('oom_kill', 0))

    def _kill(self) -> None:
        kill = self._folder / 'cgroup.kill'
        if kill.exists():
            kill.write_text('1')
            return
        # Before Linux 5.14.
        for pid in (self._folder / 'cgroup.procs').read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def make_cgroup(
    name: str,
    limits: Limits,
    root: pathlib.Path = pathlib.Path('/sys/fs/cgroup'),
    own: pathlib.Path = pathlib.Path('/proc/self/cgroup'),
) -> Cgroup | None:
    """Return a cgroup for an extension, ``None`` where the agent may make none.

    :param root: where the hierarchy is mounted.
    :param own: the file that names the agent's own cgroup.
    """
    try:
        base = _base(root, own)
        if base is None:
            return None
        _make_room(base)
        folder = base / f'extension-{name}'
        folder.mkdir(exist_ok=True)
        if limits.memory:
            (folder / 'memory.max').write_text(str(limits.memory * _MIB))
        if limits.cpu:
            quota = limits.cpu * _PERIOD // 100
            (folder / 'cpu.max').write_text(f'{quota} {_PERIOD}')
        (folder / 'pids.max').write_text(str(_TASKS))
    except OSError as error:
        LOG.debug('extension %s has no cgroup: %s', name, error)
        return None
    return Cgroup(folder)


def _base(root: pathlib.Path, own: pathlib.Path) -> pathlib.Path | None:
    """Return the folder of the cgroup that was delegated to the agent, if one was."""
    for line in own.read_text().splitlines():
        if line.startswith('0::/') and (root / 'cgroup.controllers').exists():
            base = root / line[len('0::/') :]
            base = base.parent if base.name == 'agent' else base
            return base if any(_marked(base, mark) for mark in _DELEGATED) else None
    return None


def _marked(folder: pathlib.Path, mark: str) -> bool:
    try:
        return os.getxattr(folder, mark) == b'1'
    except OSError:
        return False


def _make_room(base: pathlib.Path) -> None:
    """Move what is in the cgroup into a leaf, and let its children have limits."""
    control = base / 'cgroup.subtree_control'
    wanted = {'memory', 'cpu', 'pids'}
    if wanted <= set(control.read_text().split()):
        return
    leaf = base / 'agent'
    leaf.mkdir(exist_ok=True)
    for pid in (base / 'cgroup.procs').read_text().split():
        (leaf / 'cgroup.procs').write_text(pid)
    control.write_text(' '.join(f'+{name}' for name in sorted(wanted)))


def limit(pid: int, limits: Limits, cgroup: Cgroup | None) -> None:
    """Limit a process that does not run yet.

    :raises OSError: it has gone.
    """
    if cgroup is not None:
        cgroup.add(pid)
    elif limits.memory:
        # Not RLIMIT_AS: what a program reserves and never touches would count.
        _lower(pid, resource.RLIMIT_DATA, limits.memory * _MIB)
    if limits.cpu_time:
        _lower(pid, resource.RLIMIT_CPU, limits.cpu_time)
    _lower(pid, resource.RLIMIT_NOFILE, limits.files)
    _lower(pid, resource.RLIMIT_CORE, 0)


def _lower(pid: int, what: int, value: int) -> None:
    _, most = resource.prlimit(pid, what)
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.prlimit(pid, what, (value, value))
