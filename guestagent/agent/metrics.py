# SPDX-License-Identifier: Apache-2.0
"""The agent's numbers as Prometheus reads them, and whether it is healthy.

Loaded only where ``[metrics] listen`` says so.  What is counted is counted anyway, by
those who know; here it is collected and written down (the text format 0.0.4, see
https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import guestagent
from guestagent import http
from guestagent.agent import dispatcher, registry, reporter, rpc
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
    registry: registry.Registry
    reporter: reporter.Reporter


class Family(NamedTuple):
    """A metric with all its samples: (labels, value)."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def pages(agent: Agent) -> dict[str, Callable[[], http.Answer]]:
    """Return what is served, by path."""
    started = time.monotonic()
    return {
        '/metrics': lambda: http.Answer(200, render(families(agent, started)), KIND),
        '/healthz': lambda: health(agent),
    }


def health(agent: Agent) -> http.Answer:
    """Say whether requests can reach the agent, and if not, why."""
    if agent.bus.connected:
        return http.Answer(200, 'ok\n')
    return http.Answer(503, 'the bus is not connected; the log says why\n')


def render(found: Iterable[Family]) -> str:
    """Return the text of metrics."""
    lines = []
    for family in found:
        lines.append(f'# HELP {family.name} {family.help}')
        lines.append(f'# TYPE {family.name} {family.kind}')
        for labels, value in family.samples:
            inside = ','.join(
                f'{name}="{_escape(text)}"' for name, text in labels.items()
            )
            lines.append(
                f'{family.name}{{{inside}}} {value!r}'
                if inside
                else f'{family.name} {value!r}'
            )
    return '\n'.join(lines) + '\n'


def families(agent: Agent, started: float) -> list[Family]:
    """Return all that the agent knows.

    :param started: the :func:`time.monotonic` value of its start.
    """
    about = {'version': guestagent.__version__, 'instance': agent.instance_id}
    return [
        Family('guestagent_info', 'gauge', 'Always 1.', [(about, 1)]),
        _one(
            'guestagent_uptime_seconds',
            'gauge',
            'Since the agent started.',
            round(time.monotonic() - started, 3),
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
        Family(
            'guestagent_extension_ok',
            'gauge',
            'Whether an extension is healthy.',
            [
                ({'extension': loaded.name}, int(loaded.health() == 'ok'))
                for loaded in agent.registry.extensions()
            ],
        ),
        *_process_families(),
    ]


def _request_families(agent: Agent) -> list[Family]:
    counts, watch = agent.dispatcher.counts, agent.dispatcher.watch.in_flight()
    running = sum(request.started is not None for request in watch)
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
        _one('guestagent_requests_running', 'gauge', 'Commands that run.', running),
        _one(
            'guestagent_requests_waiting',
            'gauge',
            'Commands that wait for a worker.',
            len(watch) - running,
        ),
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
    ]


def _process_families() -> list[Family]:
    """Return what Prometheus's own clients say of a process, under the same names."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open('/proc/self/statm', encoding='ascii') as file:
        pages_used = int(file.read().split()[1])
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
            pages_used * resource.getpagesize(),
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
