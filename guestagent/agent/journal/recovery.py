# SPDX-License-Identifier: Apache-2.0
"""What becomes, at the start, of the commands that a crash has left open.

A command that its author has called repeatable runs again, if its arguments could be
kept and its extension is still there; it gets no RPC context, which is never kept.  Any
other is interrupted: nobody knows how far it got.  What had ended and may not have
reached anybody is reported.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from guestagent import errors
from guestagent.agent import outcomes, steps
from guestagent.agent import request as requests
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import records, states

LOG = logging.getLogger(__name__)

#: What is said of a command of which no more is known.
INTERRUPTED = 'the agent or the guest went down before the command ended'


def recover(
    journal: journals.Journal,
    judges: Sequence[steps.Step],
    resume: Callable[[requests.Request], None],
    report: Callable[[dict[str, Any], Callable[[], None]], None],
) -> list[records.Accepted]:
    """Settle all; called on the loop, before requests are taken.

    :param judges: the steps that find a command and check its arguments.
    :param resume: runs a command again.
    :param report: takes the data of an outcome, and what to call when it is kept.
    :returns: those that were interrupted.
    """
    undelivered = journal.undelivered()
    interrupted: list[records.Accepted] = []
    again = []
    for entry in journal.unfinished():
        accepted = _read(journal, entry)
        request = _again(accepted, judges)
        if request is not None:
            again.append(request)
        else:
            _interrupt(journal, entry, accepted)
            undelivered.append(entry)
            interrupted.append(accepted)
    if interrupted:
        _sync(journal)
    for entry in undelivered:
        _report(journal, entry, report)
    # Last, because what they end with is not ours to report.
    for request in again:
        resume(request)
    if again or undelivered:
        LOG.info(
            'from before: %d commands run again, %d were interrupted, %d outcomes are '
            'reported',
            len(again),
            len(interrupted),
            len(undelivered),
        )
    return interrupted


def _read(journal: journals.Journal, entry: states.Entry) -> records.Accepted:
    try:
        return journal.accepted(entry)
    except errors.StorageError as error:
        LOG.error('%s', error)
        return records.Accepted(
            entry.caller, entry.id, entry.digest.hex(), '', 0.0, None
        )


def _again(
    accepted: records.Accepted, judges: Sequence[steps.Step]
) -> requests.Request | None:
    """Return a request to run again, or ``None``."""
    if accepted.again is None:
        return None
    namespace, method, version, args, *proven = accepted.again
    request = requests.Request(
        namespace,
        method,
        version,
        args,
        caller=accepted.caller,
        command_id=accepted.id,
        id_given=True,
        values={},
        door=requests.Door(),
        proven=proven == [True],
    )
    try:
        for judge in judges:
            judge.admit(request)
    except Exception as error:  # noqa: BLE001 (as when a request is submitted)
        LOG.warning('%s cannot be run again: %s', request.name, error)
        return None
    command = request.command
    if command is None or not command.info.repeatable or not command.info.mutates:
        return None
    return request


def _interrupt(
    journal: journals.Journal, entry: states.Entry, accepted: records.Accepted
) -> None:
    error = errors.Interrupted(INTERRUPTED)
    data = {
        'command_id': accepted.id,
        'caller': accepted.caller,
        'command': accepted.command,
        'digest': accepted.digest,
        'outcome': requests.INTERRUPTED,
        'result': None,
        'error': {
            'code': error.code,
            'class': type(error).__name__,
            'message': INTERRUPTED,
        },
        'started': accepted.at,
        'seconds': None,
    }
    failure = outcomes.describe_failure(
        requests.Outcome(requests.INTERRUPTED, error=error)
    )
    journal.end(entry, data, failure)


def _sync(journal: journals.Journal) -> None:
    try:
        journal.sync()
    except errors.StorageError as error:
        # The next start would find the same, and say the same.
        LOG.error('outcomes of interrupted commands are in memory only: %s', error)


def _report(
    journal: journals.Journal,
    entry: states.Entry,
    report: Callable[[dict[str, Any], Callable[[], None]], None],
) -> None:
    try:
        data, _ = journal.ended(entry)
    except errors.StorageError as error:
        LOG.error('an outcome is lost: %s', error)
        return
    report(data, functools.partial(journal.deliver, entry.caller, entry.id))
