# SPDX-License-Identifier: Apache-2.0
"""When a number of a fact is kept as a point of its series; no I/O.

A series is one number of one fact: ``monitoring.memory.available``.  It has a point
when the fact was reported as another one, and at most one in a step, so that no guest
can fill the database with it.  What came later within the step is told by the fact
itself.
"""

from __future__ import annotations


def is_due(before: float | None, now: float, step: float) -> bool:
    """Whether a number that changes now begins a new step.

    :param before: when the fact was another one before; ``None``: it is new.
    """
    return before is None or now // step != before // step
