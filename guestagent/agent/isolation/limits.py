# SPDX-License-Identifier: Apache-2.0
"""What an extension's process may take: by a cgroup where the agent may make one.

The agent may where systemd has delegated its own cgroup to it (``Delegate=``).  It
moves into a leaf of it first, because a cgroup that has children must be empty.
Elsewhere the kernel's limits of a process are all there is.

The launcher has this module as long as the agent runs: it imports next to nothing.
"""

from __future__ import annotations

import os
import resource

_MIB = 1024 * 1024

#: Of one processor's time, in microseconds, what ``cpu.max`` counts in.
_PERIOD = 100_000

#: Processes and threads of one extension.
_TASKS = 512

#: The marks that systemd leaves on what it has delegated.
_DELEGATED = ('trusted.delegate', 'user.delegate')


class Limits:
    """0 is no limit.

    :ivar memory: MiB.
    :ivar cpu: percent of one processor; only by a cgroup.
    :ivar cpu_time: seconds of processor time, after which it is killed.
    :ivar files: how many may be open.
    """

    __slots__ = ('cpu', 'cpu_time', 'files', 'memory')

    def __init__(self, memory: int, cpu: int, cpu_time: int, files: int) -> None:
        self.memory = memory
        self.cpu = cpu
        self.cpu_time = cpu_time
        self.files = files


class Cgroup:
    """A cgroup (version 2) with an extension's process and all that it starts."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        # A former process's, if the cgroup could not be removed after its end.
        self._killed_before = self._killed()

    def add(self, pid: int) -> None:
        """Let a process be in it.

        :raises OSError: it cannot be.
        """
        _write(self._folder, 'cgroup.procs', str(pid))

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for want of memory."""
        return self._killed() > self._killed_before

    def end(self) -> None:
        """Kill all that is left in it, and remove it."""
        try:
            self._kill()
            os.rmdir(self._folder)
        except OSError:
            # A process that is just ending keeps it a moment longer; the next
            # process of the extension uses it again.
            pass

    def _killed(self) -> int:
        try:
            text = _read(self._folder, 'memory.events')
        except OSError:
            return 0
        fields = dict(line.split() for line in text.splitlines())
        return int(fields.get('oom_kill', 0))

    def _kill(self) -> None:
        if os.path.exists(os.path.join(self._folder, 'cgroup.kill')):
            _write(self._folder, 'cgroup.kill', '1')
            return
        import signal  # before Linux 5.14

        for pid in _read(self._folder, 'cgroup.procs').split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


def make_cgroup(
    name: str,
    limits: Limits,
    root: str = '/sys/fs/cgroup',
    own: str = '/proc/self/cgroup',
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
        folder = os.path.join(base, f'extension-{name}')
        os.makedirs(folder, exist_ok=True)
        if limits.memory:
            _write(folder, 'memory.max', str(limits.memory * _MIB))
        if limits.cpu:
            quota = limits.cpu * _PERIOD // 100
            _write(folder, 'cpu.max', f'{quota} {_PERIOD}')
        _write(folder, 'pids.max', str(_TASKS))
    except OSError:
        return None
    return Cgroup(folder)


def _base(root: str, own: str) -> str | None:
    """Return the folder of the cgroup that was delegated to the agent, if one was."""
    for line in _read(own).splitlines():
        controllers = os.path.join(root, 'cgroup.controllers')
        if line.startswith('0::/') and os.path.exists(controllers):
            base = os.path.join(root, line[len('0::/') :])
            parent, last = os.path.split(base)
            base = parent if last == 'agent' else base
            return base if any(_marked(base, mark) for mark in _DELEGATED) else None
    return None


def _marked(folder: str, mark: str) -> bool:
    try:
        return os.getxattr(folder, mark) == b'1'
    except OSError:
        return False


def _make_room(base: str) -> None:
    """Move what is in the cgroup into a leaf, and let its children have limits."""
    wanted = {'memory', 'cpu', 'pids'}
    if wanted <= set(_read(base, 'cgroup.subtree_control').split()):
        return
    leaf = os.path.join(base, 'agent')
    os.makedirs(leaf, exist_ok=True)
    for pid in _read(base, 'cgroup.procs').split():
        _write(leaf, 'cgroup.procs', pid)
    enabled = ' '.join(f'+{name}' for name in sorted(wanted))
    _write(base, 'cgroup.subtree_control', enabled)


def _read(*path: str) -> str:
    with open(os.path.join(*path), encoding='utf-8') as file:
        return file.read()


def _write(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
        file.write(text)


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
