# SPDX-License-Identifier: Apache-2.0
"""What the newest heartbeat changes, and whether it leaves something open; no I/O.

A short heartbeat names the digest of what it does not say again.  Where another digest
is on record, the instance is asked for all, as one is whose facts are missing.
"""

from __future__ import annotations

import functools
import hashlib

from guestagent.conductor import audits, facts, state
from guestagent.conductor import report as reports


def join(
    before: reports.Heartbeat | None, data: reports.Heartbeat
) -> reports.Heartbeat:
    """Return a heartbeat with what an older one of the same batch said for it, too."""
    if before is None or data.whole is not None:
        return data
    if before.digest == data.digest:
        data = data._replace(whole=before.whole)
    if isinstance(before.audit, reports.Audit) and data.audit == before.audit.length:
        data = data._replace(audit=before.audit)
    return data


def take(
    data: reports.Heartbeat,
    boot_id: str,
    instance: state.Instance,
    changes: state.Changes,
    now: float,
) -> None:
    """Bring an instance up to date."""
    after = state.STOPPED if data.stopping else state.UP
    if instance.state != after:
        changes.notices.append((instance.id, *state.transition(instance.state, after)))
    instance.state = after
    instance.last_seen = now
    instance.boot_id = boot_id
    instance.heartbeat_interval = data.interval
    instance.dropped = data.dropped
    changes.instances[instance.id] = instance
    if data.whole is not None:
        _take_whole(data.whole, data.digest, instance, changes, now)
    elif data.digest != instance.extensions_digest:
        instance.extensions_digest = state.UNKNOWN
    _take_audit(data, instance, changes, now)
    if data.stopping:
        return
    if (
        instance.extensions_digest == state.UNKNOWN
        or instance.facts_newest < instance.heartbeat_generation
    ):
        facts.miss(instance, changes, now)


@functools.lru_cache(maxsize=1024)
def extensions_digest(extensions: tuple[tuple[str, reports.Extension], ...]) -> str:
    """Return a text that differs where the extensions, sorted by name, differ."""
    text = repr([(name, *extension) for name, extension in extensions])
    return hashlib.sha256(text.encode()).hexdigest()


def _take_whole(
    whole: reports.Whole,
    digest: str,
    instance: state.Instance,
    changes: state.Changes,
    now: float,
) -> None:
    instance.agent_version = whole.agent_version
    instance.started = whole.started
    digest = digest or extensions_digest(tuple(sorted(whole.extensions.items())))
    before, instance.extensions_digest = instance.extensions_digest, digest
    if before != digest:
        changes.extensions[instance.id] = whole.extensions
    if before == state.UNKNOWN:
        facts.look_for_gap(instance, changes, now)


def _take_audit(
    data: reports.Heartbeat,
    instance: state.Instance,
    changes: state.Changes,
    now: float,
) -> None:
    audit = data.audit
    named = audit if isinstance(audit, reports.Audit) else None
    if named is not None or data.whole is not None:
        audits.take(named, instance, changes, now)
    elif audit != instance.audit_length:
        instance.extensions_digest = state.UNKNOWN
