# SPDX-License-Identifier: Apache-2.0
"""Whether a guest's audit log only grows, as far as its heartbeats tell; no I/O.

Each names the length of the log and the digest of its last record (doc/audit.rst).
"""

from __future__ import annotations

from typing import Any

from guestagent.conductor import report as reports
from guestagent.conductor import state

#: The type of the event that says that a log does not only grow.
EVENT = 'instance.audit'
#: Seconds between two heads that are kept to be compared with the log later.
KEPT_EACH = 600.0


def take(
    audit: reports.Audit | None,
    instance: state.Instance,
    changes: state.Changes,
    now: float,
) -> None:
    """Compare where the log ends now with where it ended."""
    before = None
    if instance.audit_length is not None and instance.audit_head is not None:
        before = reports.Audit(instance.audit_length, instance.audit_head)
    if audit == before:
        return
    problem = _problem(before, audit)
    # Two agents of one name have two logs, and the conflict has an event of its own.
    if problem and before is not None and instance.conflict is None:
        changes.notices.append(
            (
                instance.id,
                EVENT,
                {'problem': problem, 'was': _describe(before), 'now': _describe(audit)},
            )
        )
        changes.heads.append((instance.id, before))
    if audit is not None and (
        problem or instance.audit_kept is None or now - instance.audit_kept >= KEPT_EACH
    ):
        instance.audit_kept = now
        changes.heads.append((instance.id, audit))
    instance.audit_length, instance.audit_head = audit or (None, None)
    changes.of(instance)


def _problem(before: reports.Audit | None, audit: reports.Audit | None) -> str:
    if before is None:
        return ''
    if audit is None:
        return 'missing'
    if audit.length < before.length:
        return 'shorter'
    return 'changed' if audit.length == before.length else ''


def _describe(audit: reports.Audit | None) -> dict[str, Any] | None:
    return None if audit is None else audit._asdict()
