# SPDX-License-Identifier: Apache-2.0
"""Make the audit log of an agent, and say in it what a crash has left open."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import pool as pools
from guestagent.agent import request as requests
from guestagent.agent.audit import files, log
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import states
from guestagent.agent.steps import audit as steps
from guestagent.conf import audit as options


def make(
    conf: Any, loop: loops.Loop, pool: pools.Pool, tell: log.Tell, disk: disks.Disk
) -> log.Log:
    """Return the log that the configuration asks for; it is not open yet."""
    path = os.path.join(conf.state_dir, 'audit.log')
    return log.Log(
        files.Files(path, conf.audit.max_size, disk),
        loop,
        pool,
        conf.audit.on_failure == options.REFUSE,
        tell,
    )


def note_interrupted(
    step: steps.Audit, journal: journals.Journal, entries: Iterable[states.Entry]
) -> None:
    """Record the end of those commands of a former process that were interrupted."""
    for entry in entries:
        if entry.state == states.ACCEPTED:
            continue  # it runs again
        if journal.outcome(entry).status == requests.INTERRUPTED:
            data, _ = journal.ended(entry)
            step.interrupted(entry.caller, entry.id, data['command'])
