# SPDX-License-Identifier: Apache-2.0
"""All that the agent knows of itself, for who looks for a fault (doc/wire.rst, 5).

Loaded when it is asked for.  It shows names, places and numbers: no values of
arguments or options.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any, Protocol

import guestagent
from guestagent.agent import (
    core,
    dispatcher,
    pool,
    registry,
    reporter,
    selfcheck,
    selfwatch,
)
from guestagent.bus import base

if TYPE_CHECKING:
    from guestagent.agent import channels

#: How many threads are shown, and how many frames of each.
_THREADS, _FRAMES = 100, 40


class Agent(Protocol):
    """The parts of the agent that know something."""

    instance_id: str
    started: float
    bus: base.Bus
    channels: channels.Channels | None
    dispatcher: dispatcher.Dispatcher
    pool: pool.Pool
    registry: registry.Registry
    reporter: reporter.Reporter
    selfwatch: selfwatch.SelfWatch


def diagnose(agent: Agent) -> dict[str, Any]:
    """Return what there is to know; on the loop."""
    running = agent.dispatcher.in_flight()
    started = sum(request.started is not None for request in running)
    reports = agent.reporter
    return {
        'instance': agent.instance_id,
        'version': guestagent.__version__,
        'python': sys.version.split()[0],
        'pid': os.getpid(),
        'uptime_seconds': round(time.monotonic() - agent.started, 1),
        'memory_bytes': selfcheck.memory(),
        'cpu_seconds': round(time.process_time(), 3),
        'open_files': len(os.listdir('/proc/self/fd')),
        'bus': {
            'kind': type(agent.bus).__module__.rpartition('.')[2],
            'connected': agent.bus.connected,
            'connects': agent.bus.connects,
        },
        'spool': {
            'waiting': reports.waiting,
            'dropped': reports.dropped,
            'sent': dict(reports.sent),
            'unsent': dict(reports.unsent),
        },
        'workers': {
            'size': agent.pool.size,
            'running': started,
            'waiting': len(running) - started,
            'hung': [hang.what for hang in agent.selfwatch.hangs.present().values()],
        },
        'commands': [core.describe_request(request) for request in running],
        'requests': dict(agent.dispatcher.counts.ended),
        'refusals': dict(agent.dispatcher.counts.refused),
        'extensions': _extensions(agent),
        'channels': agent.channels.healths() if agent.channels else {},
        'threads': _threads(agent.pool),
    }


def _extensions(agent: Agent) -> dict[str, Any]:
    ran = agent.dispatcher.counts.ran
    found = {}
    for loaded in agent.registry.extensions():
        about: dict[str, Any] = {'health': loaded.health()}
        if loaded.name in ran:
            about.update(selfcheck.summary(ran[loaded.name]))
        process = getattr(loaded.instance, 'isolated_process', None)
        if process is not None:
            about['process'] = process()
        found[loaded.name] = about
    return found


def _threads(workers: pool.Pool) -> list[dict[str, Any]]:
    busy, now = workers.busy(), time.monotonic()
    found = []
    for thread in threading.enumerate()[:_THREADS]:
        about: dict[str, Any] = {'name': thread.name}
        if thread.ident in busy:
            work = busy[thread.ident]
            about['at'] = str(getattr(work.argument, 'name', 'agent'))
            about['seconds'] = round(now - work.since, 1)
        about['stack'] = stack(thread.ident)
        found.append(about)
    return found


def stack(thread: int | None) -> list[str]:
    """Return where a thread is, ``file:line function``, the innermost first."""
    frame: types.FrameType | None = None
    if thread is not None:
        frame = sys._current_frames().get(thread)
    found: list[str] = []
    while frame is not None and len(found) < _FRAMES:
        code = frame.f_code
        file = '/'.join(code.co_filename.split('/')[-2:])
        found.append(f'{file}:{frame.f_lineno} {code.co_qualname}')
        frame = frame.f_back
    return found
