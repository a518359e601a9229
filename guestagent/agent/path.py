# SPDX-License-Identifier: Apache-2.0
"""The steps that each request passes, in their order, and what they stand on.

What is cheap and refuses comes before what writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from guestagent import loop as loops
from guestagent.agent import disk, pool, recordfile, registry, steps, trust
from guestagent.agent import request as requests
from guestagent.agent.audit import making as auditing
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import records, recovery, states
from guestagent.agent.steps import (
    arguments,
    audit,
    bare,
    journaling,
    limit,
    names,
    policy,
    version,
)


class Path:
    """Makes the steps, opens what they keep on the disk, and closes it.

    :param conf: with the options of :mod:`guestagent.conf.agent` registered.
    :param tell: takes (name, data) of an event of the agent's own.
    :param held: the disk of the files.
    :ivar trust: whose word counts.
    :ivar limit: refuses when no worker is free.
    :ivar journal: the commands that change the guest.
    :ivar audit: the log of what was decided about them.
    :ivar record_note: :meth:`guestagent.agent.steps.audit.Audit.note`.
    :raises guestagent.errors.ConfigError: the keys cannot be used.
    """

    def __init__(
        self,
        conf: Any,
        loop: loops.Loop,
        workers: pool.Pool,
        known: registry.Registry,
        instance_id: str,
        tell: Callable[[str, Mapping[str, Any]], None],
        held: disk.Disk,
    ) -> None:
        self._conf = conf
        self._known = known
        self.trust = trust.Trust(conf, loop, instance_id, held)
        self.limit = limit.Limit(lambda: workers.has_room)
        self.journal = _journal(conf, instance_id, tell, held)
        self.audit = auditing.make(conf, loop, workers, tell, held)
        self._bare = bare.Bare(known, conf.dispatcher.max_result_size)
        self._version = version.Version(known)
        channels = conf.enabled_channels
        self._names = [names.Names(channels)] if channels else []
        self._policy = policy.Policy()
        self._arguments = arguments.Arguments()
        self._audit = audit.Audit(self.audit)
        self.record_note = self._audit.note

    @property
    def steps(self) -> list[steps.Step]:
        """All, in their order."""
        return [
            self._bare,
            *self.trust.unseal,
            self._version,
            *self._names,
            *self.trust.refuse,
            self.limit,
            self._policy,
            self._arguments,
            self._audit,
            journaling.Journaling(self.journal),
        ]

    def load_policy(self) -> None:
        """Read the policy file, if there is one.

        :raises guestagent.errors.ConfigError: it makes no sense; the one before stays.
        """
        self._policy.load(self._conf.policy.file, self._known.command_names())

    def open(self) -> None:
        """Read what must survive a crash.

        :raises guestagent.errors.StorageError: it cannot be read.
        """
        self.journal.open()
        self.audit.open()
        self.trust.start()

    def recover(
        self,
        resume: Callable[[requests.Request], None],
        report: Callable[[dict[str, Any], Callable[[], None]], None],
    ) -> None:
        """Settle what a former process has left open.

        :param resume: runs a command again.
        :param report: takes the data of an outcome, and what to call when it is kept.
        """
        unfinished = self.journal.unfinished()
        judges = [self._version, self._policy, self._arguments]
        for accepted in recovery.recover(self.journal, judges, resume, report):
            self._known.tell_interrupted(accepted.command, accepted.id)
        auditing.note_interrupted(self._audit, self.journal, unfinished)

    def close(self) -> None:
        """Let go of the disk; the last reports have been sent, or are kept."""
        self.trust.stop()
        self.journal.close()
        self.audit.close()


def _journal(
    conf: Any,
    instance_id: str,
    tell: Callable[[str, Mapping[str, Any]], None],
    held: disk.Disk,
) -> journals.Journal:
    options = conf.journal
    path = os.path.join(conf.state_dir, 'journal')
    return journals.Journal(
        recordfile.RecordFile(path, records.KIND, records.VERSION, held),
        instance_id,
        states.Bounds(options.max_commands, options.max_size, options.retention),
        tell,
    )
