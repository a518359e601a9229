# SPDX-License-Identifier: Apache-2.0
"""Record what may be done to the guest, what may not, and how it ended (doc/audit.rst).

Nothing that an author has called sensitive is in a record, and no result.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent.agent import request as requests
from guestagent.agent import steps
from guestagent.agent.audit import log as logs

#: What stands for a value that must appear nowhere.
WITHHELD = '(withheld)'
#: Of a longer value, in characters of JSON, so many are kept.
VALUE_MAX = 1000
#: So many characters of a name or a reason are kept.
TEXT_MAX = 300
#: So many members of a note are kept.
ABOUT_MAX = 20


class Audit(steps.Step):
    """Writes to the log, of commands that change the guest."""

    def __init__(self, log: logs.Log) -> None:
        self._log = log
        self._lock = threading.Lock()

    def accept_all(
        self, several: Sequence[requests.Request]
    ) -> dict[requests.Request, steps.Known | Exception]:
        """Record that they are allowed.

        All are refused with a :class:`guestagent.errors.StorageError` when that cannot
        be recorded, and must be.
        """
        found: dict[requests.Request, steps.Known | Exception] = {}
        records = {}
        for request in several:
            if request.mutates:
                try:
                    records[request] = _describe_allowed(request)
                except (ValueError, RecursionError) as error:
                    found[request] = error
        if not records:
            return found
        try:
            self._log.require(list(records.values()))
        except errors.StorageError as error:
            return {**found, **dict.fromkeys(records, error)}
        for request in records:
            request.audited = True
        return found

    def refused(self, request: requests.Request, error: BaseException) -> None:
        """Record that it is refused, and why."""
        if request.mutates:
            self._log.refuse(
                {
                    'kind': 'refused',
                    **_describe(request),
                    'error': getattr(error, 'code', type(error).__name__),
                    'reason': str(error)[:TEXT_MAX],
                }
            )

    def finish_all(self, ended: Sequence[steps.Ended]) -> None:
        """Record how they ended, each once."""
        records = []
        with self._lock:
            for request, outcome in ended:
                if request.audited:
                    request.audited = False
                    records.append(_describe_ended(request, outcome))
        if records:
            self._log.record(records)

    def note(
        self,
        command: str,
        context: extension.Context,
        about: Mapping[str, Any],
        needed: bool,
    ) -> None:
        """Record what an extension says more of a command; from any thread.

        :param needed: what it tells of must not happen without it.
        :raises guestagent.errors.StorageError: that is so, and it cannot be recorded.
        """
        record = {
            'kind': 'note',
            'caller': context.caller[:TEXT_MAX],
            'proven': context.proven,
            'id': context.command_id,
            'command': command[:TEXT_MAX],
            'about': {
                name[:TEXT_MAX]: _bounded(value)
                for name, value in itertools.islice(about.items(), ABOUT_MAX)
            },
        }
        if needed:
            self._log.require([record])
        else:
            self._log.record([record])

    def interrupted(self, caller: str, command_id: str, command: str) -> None:
        """Record that nobody knows how a command of a former process ended."""
        self._log.record(
            [
                {
                    'kind': 'outcome',
                    'caller': caller[:TEXT_MAX],
                    'id': command_id,
                    'command': command,
                    'outcome': requests.INTERRUPTED,
                    'error': errors.Interrupted.code,
                    'seconds': None,
                }
            ]
        )


def _describe(request: requests.Request) -> dict[str, Any]:
    return {
        'caller': request.caller[:TEXT_MAX],
        'proven': request.proven,
        'id': request.id,
        'command': request.name,
    }


def _describe_allowed(request: requests.Request) -> dict[str, Any]:
    return {
        'kind': 'allowed',
        **_describe(request),
        'rule': request.rule,
        'digest': request.digest,
        'args': _arguments(request),
    }


def _describe_ended(
    request: requests.Request, outcome: requests.Outcome
) -> dict[str, Any]:
    error, seconds = outcome.error, None
    if request.started is not None:
        seconds = round(time.monotonic() - request.started, 6)
    return {
        'kind': 'outcome',
        **_describe(request),
        'outcome': outcome.kept(request).status,
        'error': None
        if error is None
        else getattr(error, 'code', errors.GuestError.code),
        'seconds': seconds,
    }


def _arguments(request: requests.Request) -> dict[str, Any]:
    return {
        name: WITHHELD if request.is_sensitive(name) else _bounded(value)
        for name, value in request.args.items()
    }


def _bounded(value: Any) -> Any:
    text = json.dumps(value)
    return value if len(text) <= VALUE_MAX else f'{text[:VALUE_MAX]}...'
