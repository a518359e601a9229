# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging's wire format 2.0, read and written as stock clients do; no I/O.

The format is written down in doc/wire.rst, sections 2, 5 and 7.  Reading goes from
the body of a message to a :class:`Message`; writing from values to a body.
"""

from __future__ import annotations

import json
import os
import re
import time
import traceback
from collections.abc import Mapping
from typing import Any

from guestagent import errors, jsontext

VERSION = '2.0'

_CONTEXT = '_context_'

#: The longest interval between signs of life that makes sense, in seconds.
_MONITOR_MAX = 10**9

#: As compact as oslo.serialization's output is not; the readers do not mind.
_dumps = json.JSONEncoder(separators=(',', ':')).encode


class Unreadable(Exception):
    """A body that is no message of this format; says what is wrong with it."""


class TooLarge(Unreadable):
    """A body of which only the end was kept.

    :param end: that end; stock clients write who asks behind the arguments.
    :ivar msg_id: what a reply repeats, if ``end`` tells.
    :ivar reply_queue: where the sender wants the reply, if ``end`` tells.
    """

    def __init__(self, size: int, size_max: int, end: str | bytes) -> None:
        super().__init__(
            f'the request takes {size} bytes; [bus] max_message_size allows {size_max}'
        )
        text = end if isinstance(end, str) else end.decode('latin-1')
        self.msg_id = _last_text('_msg_id', text)
        self.reply_queue = _last_text('_reply_q', text)


class Message:
    """A request, taken out of its envelope.

    :ivar body: the message without the keys below: ``method``, ``args``,
        ``namespace``, ``version`` as the sender gave them, unchecked.
    :ivar context: the sender's RPC context.
    :ivar unique_id: changes with each sending; ``None`` when there is none.
    :ivar msg_id: what a reply repeats; ``None``: nobody waits for a reply.
    :ivar reply_queue: where the sender wants the reply; its word only.
    :ivar monitor: seconds within which a sign of life is expected while the call
        runs; ``None``: none is wanted.
    """

    __slots__ = ('body', 'context', 'monitor', 'msg_id', 'reply_queue', 'unique_id')

    def __init__(self, fields: dict[str, Any]) -> None:
        pop = fields.pop
        self.unique_id = pop('_unique_id', None)
        self.msg_id = pop('_msg_id', None)
        self.reply_queue = pop('_reply_q', None)
        self.monitor = _monitor_interval(pop('_timeout', None))
        self.context: dict[str, Any] = {}
        for key in [key for key in fields if key.startswith(_CONTEXT)]:
            self.context[key[len(_CONTEXT) :]] = pop(key)
        self.body = fields


def read(body: str | bytes) -> Message:
    """Return the message in ``body``.

    :raises Unreadable: it is not one.
    """
    fields = _load(body)
    if 'oslo.version' in fields and 'oslo.message' in fields:
        _check_version(fields['oslo.version'])
        inner = fields['oslo.message']
        if not isinstance(inner, str):
            raise Unreadable('oslo.message is not text')
        fields = _load(inner)
    return Message(fields)


def wrap(fields: Mapping[str, Any]) -> str:
    """Return a body: ``fields`` in the envelope.

    :raises TypeError, ValueError, RecursionError: they are not JSON.
    """
    return jsontext.written(fields, _enveloped)


def unique_id() -> str:
    """Return 32 hexadecimal digits that nobody else has."""
    return os.urandom(16).hex()


def reply(msg_id: str, result: Any) -> str:
    """Return the body of a reply with a result."""
    return wrap(
        {
            'result': result,
            'failure': None,
            'ending': True,
            '_msg_id': msg_id,
            '_unique_id': unique_id(),
        }
    )


def failure(msg_id: str, error: BaseException) -> str:
    """Return the body of a reply that a stock client raises as ``error``."""
    return wrap(
        {
            'result': None,
            'failure': _dumps(describe(error)),
            'ending': True,
            '_msg_id': msg_id,
            '_unique_id': unique_id(),
        }
    )


def sign_of_life(msg_id: str) -> str:
    """Return the body that tells a waiting client that its call still runs."""
    return wrap(
        {
            'result': None,
            'failure': None,
            'ending': False,
            '_msg_id': msg_id,
            '_unique_id': unique_id(),
        }
    )


def describe(error: BaseException) -> dict[str, Any]:
    """Return an exception as oslo.messaging writes it.

    Errors of ours name the module that a client may import, and no traceback: they
    are answers, not crashes.
    """
    if isinstance(error, errors.GuestAgentError):
        module, trace = error.wire_module, []
    else:
        module = type(error).__module__
        trace = traceback.format_exception(error) if error.__traceback__ else []
    return {
        'class': type(error).__name__,
        'module': module,
        'message': str(error),
        'tb': trace,
        'args': _plain(list(error.args)),
        'kwargs': _plain(getattr(error, 'kwargs', {})),
    }


def notification(
    publisher_id: str, event_type: str, payload: Mapping[str, Any], message_id: str
) -> str:
    """Return the body of a notification of priority INFO, stamped with now."""
    now = time.time()
    stamp = time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))
    return wrap(
        {
            'message_id': message_id,
            'publisher_id': publisher_id,
            'event_type': event_type,
            'priority': 'INFO',
            'payload': payload,
            'timestamp': f'{stamp}.{int(now % 1 * 1e6):06d}',
            '_unique_id': os.urandom(8).hex(),
        }
    )


def cast(
    method: str,
    version: str,
    args: Mapping[str, Any],
    context: Mapping[str, Any],
    unique: str,
) -> str:
    """Return the body of a request that wants no answer and names no namespace.

    :param unique: its ``_unique_id``; the same when it is sent again.
    """
    fields = {f'{_CONTEXT}{key}': value for key, value in context.items()}
    fields.update(method=method, version=version, args=args, _unique_id=unique)
    return wrap(fields)


def _enveloped(fields: Mapping[str, Any]) -> str:
    return _dumps({'oslo.version': VERSION, 'oslo.message': _dumps(fields)})


def _load(text: str | bytes) -> dict[str, Any]:
    try:
        value = jsontext.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise Unreadable(f'not JSON: {error}') from None
    if not isinstance(value, dict):
        raise Unreadable(f'a JSON {type(value).__name__}, not an object')
    return value


def _last_text(key: str, body: str) -> str | None:
    """Return the last text under ``key`` in JSON that may itself be in JSON."""
    found = re.findall(rf'"{key}\\?": ?\\?"([A-Za-z0-9_.\-]{{1,255}})\\?"', body)
    return found[-1] if found else None


def _check_version(version: Any) -> None:
    """Take 2.0 only: another major, or a newer minor, may mean anything."""
    if version == VERSION:
        return
    raise Unreadable(f'envelope version {version!r}; this agent reads {VERSION}')


def _monitor_interval(value: Any) -> float | None:
    """Return the usable ``_timeout`` in seconds, as oslo.messaging judges it."""
    if not value:
        return None
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 2 <= seconds <= _MONITOR_MAX else None


def _plain(value: Any) -> Any:
    """Return ``value`` if JSON carries it, else something like it that JSON does."""
    try:
        _dumps(value)
    except (TypeError, ValueError, RecursionError):
        if isinstance(value, Mapping):
            return {str(key): _plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [_plain(item) for item in value]
        return repr(value)
    return value
