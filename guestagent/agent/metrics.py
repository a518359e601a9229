# SPDX-License-Identifier: Apache-2.0
"""The agent's numbers as Prometheus reads them, and whether it is healthy.

Loaded only where ``[metrics] listen`` says so.  What is counted is counted anyway, by
those who know; here it is collected and written down (the text format 0.0.4, see
https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import guestagent
from guestagent import http, numbers
from guestagent.agent import (
    counts,
    dispatcher,
    pool,
    registry,
    reporter,
    rpc,
    selfcheck,
    selfwatch,
)
from guestagent.agent import request as requests
from guestagent.bus import base

KIND = 'text/plain; version=0.0.4; charset=utf-8'

_OUTCOMES = (requests.DONE, requests.FAILED, requests.INTERRUPTED)


class Agent(Protocol):
    """The parts of the agent that know something."""

    instance_id: str
    bus: base.Bus
    dispatcher: dispatcher.Dispatcher
    door: rpc.RpcDoor
    pool: pool.Pool
    started: float
    registry: registry.Registry
    reporter: reporter.Reporter
    selfwatch: selfwatch.SelfWatch


class Sample(NamedTuple):
    """A value; ``suffix`` follows the name of its family."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ''


class Family(NamedTuple):
    """A metric with all its samples: each is a Sample, or (labels, value)."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float] | Sample]


def pages(agent: Agent) -> dict[str, Callable[[], http.Answer]]:
    """Return what is served, by path."""
    return {
        '/metrics': lambda: http.Answer(200, render(families(agent)), KIND),
        '/healthz': lambda: health(agent),
    }


def health(agent: Agent) -> http.Answer:
    """Say whether requests are served, and if not, why: a line for each reason."""
    problems = []
    if not agent.bus.connected:
        problems.append('the bus is not connected; the log says why\n')
    if agent.selfwatch.hangs.all_hang:
        problems.append('all workers hang; the log says where\n')
    return http.Answer(503 if problems else 200, ''.join(problems) or 'ok\n')


def render(found: Iterable[Family]) -> str:
    """Return the text of metrics."""
    lines = []
    for family in found:
        lines.append(f'# HELP {family.name} {family.help}')
        lines.append(f'# TYPE {family.name} {family.kind}')
        for labels, value, suffix in itertools.starmap(Sample, family.samples):
            inside = ','.join(
                f'{name}="{_escape(text)}"' for name, text in labels.items()
            )
            name = f'{family.name}{suffix}'
            lines.append(
                f'{name}{{{inside}}} {value!r}' if inside else f'{name} {value!r}'
            )
    return '\n'.join(lines) + '\n'


def families(agent: Agent) -> list[Family]:
    """Return all that the agent knows."""
    about = {'version': guestagent.__version__, 'instance': agent.instance_id}
    return [
        Family('guestagent_info', 'gauge', 'Always 1.', [(about, 1)]),
        _one(
            'guestagent_uptime_seconds',
            'gauge',
            'Since the agent started.',
            round(time.monotonic() - agent.started, 3),
        ),
        *_request_families(agent),
        *_report_families(agent.reporter),
        _one(
            'guestagent_bus_connected',
            'gauge',
            'Whether the bus is connected.',
            int(agent.bus.connected),
        ),
        _one(
            'guestagent_bus_connects_total',
            'counter',
            'How often the bus was connected.',
            agent.bus.connects,
        ),
        *_extension_families(agent),
        _facts(agent.reporter),
        *_process_families(),
    ]


def _request_families(agent: Agent) -> list[Family]:
    counts = agent.dispatcher.counts
    return [
        _by(
            'guestagent_requests_total',
            'How requests ended.',
            'outcome',
            dict.fromkeys(_OUTCOMES, 0) | counts.ended,
        ),
        _by(
            'guestagent_refusals_total',
            'Requests that did not run.',
            'reason',
            dict(counts.refused),
        ),
        _by(
            'guestagent_requests_dropped_total',
            'Requests that got no answer.',
            'reason',
            dict(counts.dropped),
        ),
        *_worker_families(agent),
        _one(
            'guestagent_messages_unreadable_total',
            'counter',
            'Messages that were no requests.',
            agent.door.unreadable,
        ),
        _one(
            'guestagent_messages_repeated_total',
            'counter',
            'Messages that had come before.',
            agent.door.repeated,
        ),
    ]


def _worker_families(agent: Agent) -> list[Family]:
    watch = agent.dispatcher.watch.in_flight()
    running = sum(request.started is not None for request in watch)
    return [
        _one('guestagent_requests_running', 'gauge', 'Commands that run.', running),
        _one(
            'guestagent_requests_waiting',
            'gauge',
            'Commands that wait for a worker.',
            len(watch) - running,
        ),
        _one('guestagent_workers', 'gauge', 'Commands that may run.', agent.pool.size),
        _one(
            'guestagent_workers_hung',
            'gauge',
            'Workers that do not return.',
            len(agent.selfwatch.hangs.present()),
        ),
    ]


def _extension_families(agent: Agent) -> list[Family]:
    loaded = agent.registry.extensions()
    ran = sorted(agent.dispatcher.counts.ran.items())
    processes = {each.name: _process(each) for each in loaded}
    return [
        Family(
            'guestagent_extension_ok',
            'gauge',
            'Whether an extension is healthy.',
            [({'extension': each.name}, int(each.health() == 'ok')) for each in loaded],
        ),
        Family(
            'guestagent_extension_errors_total',
            'counter',
            'Commands of an extension that failed.',
            [({'extension': name}, calls.errors) for name, calls in ran],
        ),
        Family(
            'guestagent_extension_seconds',
            'histogram',
            'How long the commands of an extension ran.',
            itertools.chain.from_iterable(_histogram(*each) for each in ran),
        ),
        Family(
            'guestagent_extension_process_resident_memory_bytes',
            'gauge',
            'Resident memory of the process of an extension.',
            [({'extension': name}, size) for name, size in processes.items() if size],
        ),
    ]


def _process(loaded: registry.Loaded) -> int:
    find = getattr(loaded.instance, 'isolated_process', None)
    found = find() if find is not None else None
    return found['memory_bytes'] if found else 0


def _histogram(name: str, calls: counts.Calls) -> Iterator[Sample]:
    """Yield the samples of one extension; each bucket holds those below it too."""
    label = {'extension': name}
    bounds = [*map(str, counts.BOUNDS), '+Inf']
    for bound, number in zip(bounds, itertools.accumulate(calls.buckets), strict=True):
        yield Sample({**label, 'le': bound}, number, '_bucket')
    yield Sample(label, round(calls.seconds, 6), '_sum')
    yield Sample(label, calls.calls, '_count')


def _report_families(source: reporter.Reporter) -> list[Family]:
    return [
        _by(
            'guestagent_reports_sent_total',
            'Reports that the broker confirmed.',
            'kind',
            source.sent,
        ),
        _by(
            'guestagent_reports_unsent_total',
            'Reports that must be sent again.',
            'reason',
            source.unsent,
        ),
        _one(
            'guestagent_reports_waiting',
            'gauge',
            'Reports that wait, or are not confirmed yet.',
            source.waiting,
        ),
        _one(
            'guestagent_reports_dropped_total',
            'counter',
            'Outcomes and events that were lost for want of room.',
            source.dropped,
        ),
        _one(
            'guestagent_reports_unsaved',
            'gauge',
            'Outcomes and events in memory only, because the disk fails.',
            source.unsaved,
        ),
    ]


def _facts(source: reporter.Reporter) -> Family:
    """Return the numbers that the conductor keeps as series, under the same names."""
    found = sorted(source.facts().items())
    return Family(
        'guestagent_fact',
        'gauge',
        'A number of a fact, as it was reported last.',
        [
            ({'name': name}, number)
            for fact, text in found
            if numbers.is_wanted(fact, numbers.FACTS)
            for name, number in numbers.numbers(fact, text).items()
        ],
    )


def _process_families() -> list[Family]:
    """Return what Prometheus's own clients say of a process, under the same names."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return [
        _one(
            'process_cpu_seconds_total',
            'counter',
            'User and system CPU time.',
            round(used.ru_utime + used.ru_stime, 6),
        ),
        _one(
            'process_resident_memory_bytes',
            'gauge',
            'Resident memory size.',
            selfcheck.memory(),
        ),
        _one(
            'process_open_fds',
            'gauge',
            'Open file descriptors.',
            len(os.listdir('/proc/self/fd')),
        ),
    ]


def _one(name: str, kind: str, text: str, value: float) -> Family:
    return Family(name, kind, text, [({}, value)])


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a counter with one label."""
    samples = [({label: key}, value) for key, value in sorted(values.items())]
    return Family(name, 'counter', text, samples)


def _escape(text: str) -> str:
    return text.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
