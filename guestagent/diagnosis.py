# SPDX-License-Identifier: Apache-2.0
"""The answer of ``agent.diagnose`` as lines for people: in a terminal, and in a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Return the lines; what another version of the agent does not say is left out."""
    yield (
        f'agent {found.get("version")} of {found.get("instance")}, '
        f'pid {found.get("pid")}, Python {found.get("python")}'
    )
    yield (
        f'up {found.get("uptime_seconds", 0):.0f} s, '
        f'{found.get("memory_bytes", 0) / 2**20:.1f} MiB, '
        f'{found.get("cpu_seconds", 0):.1f} s of processor time, '
        f'{found.get("open_files", 0)} open files'
    )
    bus, spool = found.get('bus', {}), found.get('spool', {})
    state = 'connected' if bus.get('connected') else 'not connected'
    yield f'bus: {bus.get("kind")}, {state}, connected {bus.get("connects")} times'
    yield (
        f'reports: {spool.get("waiting")} wait, {spool.get("dropped")} dropped; '
        f'sent: {_counts(spool.get("sent", {}))}; '
        f'not sent: {_counts(spool.get("unsent", {}))}'
    )
    workers = found.get('workers', {})
    yield (
        f'commands: {workers.get("running")} run on {workers.get("size")} workers, '
        f'{workers.get("waiting")} wait; '
        f'hanging: {", ".join(workers.get("hung", [])) or "none"}'
    )
    yield (
        f'requests: {_counts(found.get("requests", {}))}; '
        f'refused: {_counts(found.get("refusals", {}))}'
    )
    yield from _details(found)


def _details(found: Mapping[str, Any]) -> Iterator[str]:
    for command in found.get('commands', []):
        seconds = command['seconds']
        time = '' if seconds is None else f' for {seconds:.1f} s'
        yield (
            f'command {command["command"]} of {command["caller"] or "nobody"}: '
            f'{command["state"]}{time}, id {command["command_id"]}'
        )
    for name, about in found.get('extensions', {}).items():
        yield f'extension {name}: {_extension(about)}'
    for thread in found.get('threads', []):
        at = f', at {thread["at"]} for {thread["seconds"]} s' if 'at' in thread else ''
        yield f'thread {thread["name"]}{at}'
        yield from (f'    {place}' for place in thread['stack'])


def _extension(about: Mapping[str, Any]) -> str:
    parts = [str(about.get('health'))]
    if 'calls' in about:
        parts.append(
            f'{about["calls"]} calls, {about["errors"]} errors, '
            f'mean {about["mean_ms"]:g} ms, longest {about["longest_ms"]:g} ms'
        )
    process = about.get('process')
    if process is not None:
        size = process['memory_bytes'] / 2**20
        parts.append(f'process {process["pid"]}, {size:.1f} MiB')
    return '; '.join(parts)


def _counts(values: Mapping[str, Any]) -> str:
    return ', '.join(f'{value} {name}' for name, value in values.items()) or 'none'
