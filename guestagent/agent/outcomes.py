# SPDX-License-Identifier: Apache-2.0
"""How a command ended, as JSON: in a report and in the journal; no I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from guestagent import errors
from guestagent.agent import request as requests
from guestagent.bus import envelope

#: A larger result, in bytes of JSON, is left out.
RESULT_MAX = 256 * 1024
#: So many characters of an error's message are always kept.
MESSAGE_MIN = 100


def describe(request: requests.Request, outcome: requests.Outcome) -> dict[str, Any]:
    """Return the data of an outcome report (doc/wire.rst, section 7)."""
    kept = outcome.kept(request)
    error = None
    if kept.error is not None:
        error = {
            'code': getattr(kept.error, 'code', errors.GuestError.code),
            'class': type(kept.error).__name__,
            'message': str(kept.error),
        }
    result = kept.result
    if result is not None:
        result, error = _bounded(result)
    seconds = None
    if request.started is not None:
        seconds = round(time.monotonic() - request.started, 6)
    return {
        'command_id': request.id,
        'caller': request.caller,
        'command': request.name,
        'digest': request.digest,
        'outcome': kept.status,
        'result': result,
        'error': error,
        'started': request.started_at,
        'seconds': seconds,
    }


def describe_failure(outcome: requests.Outcome) -> dict[str, Any] | None:
    """Return the error as a client raises it; ``None``: there is none."""
    if outcome.error is None:
        return None
    return {**envelope.describe(outcome.error), 'tb': []}


def revive(
    data: Mapping[str, Any], failure: Mapping[str, Any] | None
) -> requests.Outcome:
    """Return the outcome that :func:`describe` and the other have described."""
    status, result = str(data['outcome']), data['result']
    about = data['error']
    if failure is None and about is not None:
        failure = {
            'class': about['class'],
            'module': errors.GuestAgentError.wire_module,
            'message': about['message'],
            'args': [about['message']],
        }
    if failure is not None:
        return requests.Outcome(status, error=_revive_error(failure))
    return requests.Outcome(status, result)


def shortened(data: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the data of an outcome, without its result and the end of its error."""
    error = data['error']
    if data['result'] is not None:
        error = _left_out(errors.ResultTooLarge, reason)
    elif error is not None:
        error = {**error, 'message': error['message'][:MESSAGE_MIN]}
    return {**data, 'result': None, 'error': error}


def _bounded(result: Any) -> tuple[Any, dict[str, Any] | None]:
    """Return a result that a report can carry, and what is wrong with the other."""
    try:
        size = len(json.dumps(result))
    except (TypeError, ValueError, RecursionError) as error:
        return None, _left_out(
            errors.BadResult, f'the result cannot be sent as JSON: {error}'
        )
    if size > RESULT_MAX:
        return None, _left_out(
            errors.ResultTooLarge,
            f'the result takes {size} bytes; an outcome carries {RESULT_MAX}',
        )
    return result, None


def _left_out(kind: type[errors.GuestError], message: str) -> dict[str, Any]:
    return {'code': kind.code, 'class': kind.__name__, 'message': message}


def _revive_error(failure: Mapping[str, Any]) -> BaseException:
    """Return an error that is described as ``failure`` says, whatever its class was."""
    name, message = str(failure['class']), str(failure['message'])
    kind = getattr(errors, name, None)
    if (
        isinstance(kind, type)
        and issubclass(kind, errors.GuestAgentError)
        and kind.wire_module == failure['module']
    ):
        own = kind.__new__(kind)
        own.args = tuple(failure['args'])
        return own
    made = type(
        name,
        (Exception,),
        {'__module__': str(failure['module']), '__str__': lambda _: message},
    )
    revived: BaseException = made(*failure['args'])
    return revived
