# SPDX-License-Identifier: Apache-2.0
"""Read a guest's report and check it against the wire (doc/wire.rst, 7); no I/O.

What passes can be stored as it is by any of the databases: texts have bounds and hold
no characters that a database refuses, numbers fit their columns, and what a guest may
shape as it likes has become JSON text.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from guestagent import errors
from guestagent.bus import envelope, topics
from guestagent.conductor.db import tables

HEARTBEAT, FACTS, OUTCOME, EVENT = 'heartbeat', 'facts', 'outcome', 'event'

#: A guest's clock may be wrong, but a date has four digits in its year.
_LAST_TIME = 253402300799.0
_LAST_INTEGER = 2**63 - 1
_HEALTH_LENGTH = 1000

#: The outcome of a command of which nobody knows how far it got.
INTERRUPTED = 'interrupted'
_OUTCOMES = frozenset(('done', 'failed', INTERRUPTED, 'withheld'))


class Rejected(Exception):
    """A report that cannot be taken; says what is wrong with it."""


class Extension(NamedTuple):
    """What a heartbeat says of one extension; no ``version``: it did not load."""

    version: str | None
    health: str
    distribution: str | None
    distribution_version: str | None


class Audit(NamedTuple):
    """Where the audit log ends: how many records, and the digest of the last."""

    length: int
    head: str


class Whole(NamedTuple):
    """What a heartbeat need not say again; ``started`` in UNIX seconds."""

    agent_version: str
    started: float
    extensions: dict[str, Extension]


class Heartbeat(NamedTuple):
    """A sign of life.

    :ivar interval: in seconds.
    :ivar digest: differs where another whole would; ``''``: the agent makes none.
    :ivar whole: ``None``: as it was when it had that digest.
    :ivar audit: an integer: the log is as long as when it was told last.
    """

    stopping: bool
    interval: float
    dropped: int
    digest: str
    whole: Whole | None
    audit: Audit | int | None = None


class Facts(NamedTuple):
    """Values as JSON text; ``None`` removes the fact."""

    full: bool
    facts: dict[str, str | None]


class Outcome(NamedTuple):
    """``result`` and ``error`` as JSON text."""

    caller: str
    command_id: str
    digest: str
    command: str
    outcome: str
    result: str
    error: str
    started: float | None
    seconds: float | None


class Event(NamedTuple):
    """``data`` as JSON text."""

    type: str
    at: float
    data: str


class Report(NamedTuple):
    """A report whose every field has been checked.

    :ivar id: the same whenever it is sent; ``''``: generation and sequence are.
    :ivar sealed_at: UNIX seconds by the guest's clock at which it was sealed; ``None``:
        it was not.
    """

    instance: str
    generation: str
    sequence: int
    boot_id: str
    data: Heartbeat | Facts | Outcome | Event
    id: str = ''
    sealed_at: float | None = None


def payload(body: bytes | str) -> Any:
    """Return what the notification in the body of a message carries, unchecked.

    :raises Rejected: it is no message.
    """
    try:
        return envelope.read(body).body.get('payload')
    except envelope.Unreadable as error:
        raise Rejected(str(error)) from None


def parse(payload: Any) -> Report:
    """Return the report in a notification's payload, as JSON gave it.

    :raises Rejected: it is no report.
    """
    if not isinstance(payload, dict):
        raise Rejected('payload: not an object')
    get = payload.get
    kind = get('kind')
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise Rejected(f'kind: {kind!r:.50} is none of {", ".join(_READERS)}')
    sequence = get('sequence')
    if type(sequence) is not int or not 0 < sequence <= _LAST_INTEGER:
        raise Rejected('sequence: not an integer from 1')
    _number('sent', get('sent'))
    return Report(
        _instance(get('instance')),
        _text('generation', get('generation'), tables.GENERATION_LENGTH),
        sequence,
        _text('boot_id', get('boot_id'), least=0),
        reader(_object('data', get('data'))),
        _text('id', get('id', ''), tables.REPORT_LENGTH, least=0),
    )


def _heartbeat(data: Mapping[str, Any]) -> Heartbeat:
    status = data.get('status')
    if status not in ('running', 'stopping'):
        raise Rejected(f'status: {status!r:.50} is neither running nor stopping')
    interval = _number('interval', data.get('interval'))
    if interval <= 0:
        raise Rejected('interval: not above 0')
    dropped = data.get('dropped', 0)
    if type(dropped) is not int or not 0 <= dropped <= _LAST_INTEGER:
        raise Rejected('dropped: not an integer from 0')
    digest = _optional_text('digest', data.get('digest'), tables.DIGEST_LENGTH) or ''
    short = bool(digest) and 'extensions' not in data
    return Heartbeat(
        status == 'stopping',
        interval,
        dropped,
        digest,
        None if short else _whole(data),
        _audit(data.get('audit'), short),
    )


def _whole(data: Mapping[str, Any]) -> Whole:
    extensions = _object('extensions', data.get('extensions'))
    return Whole(
        _text('agent_version', data.get('agent_version'), tables.VERSION_LENGTH),
        _number('started', data.get('started')),
        {name: _extension(name, value) for name, value in extensions.items()},
    )


def _audit(value: Any, short: bool) -> Audit | int | None:
    if value is None:
        return None
    if short and not isinstance(value, dict):
        return _length(value)
    get = _object('audit', value).get
    return Audit(
        _length(get('length')), _text('head of the audit log', get('head'), 64)
    )


def _length(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LAST_INTEGER:
        raise Rejected('length of the audit log: not an integer from 0')
    return value


def _extension(name: str, value: Any) -> Extension:
    if not isinstance(value, dict):
        raise Rejected(f'extension {name!r:.50}: not an object')
    get = value.get
    fields = (
        get('version'),
        get('health'),
        get('distribution'),
        get('distribution_version'),
    )
    try:
        return _checked_extension(name, *fields)
    except TypeError:
        raise Rejected(f'extension {name!r:.50}: text and null only') from None


@functools.lru_cache(maxsize=4096, typed=True)
def _checked_extension(
    name: str, version: Any, health: Any, distribution: Any, distribution_version: Any
) -> Extension:
    """Return an extension; a fleet says the same of its extensions all the time.

    :raises TypeError: a field is an object or a list.
    """
    _text('name of an extension', name)
    if not isinstance(health, str):
        raise Rejected(f'health of extension {name!r:.50}: not text')
    return Extension(
        _version(version),
        _sentence(health),
        _optional_text('distribution', distribution),
        _version(distribution_version),
    )


def _facts(data: Mapping[str, Any]) -> Facts:
    full = data.get('full')
    if not isinstance(full, bool):
        raise Rejected('full: neither true nor false')
    facts = _object('facts', data.get('facts'))
    return Facts(
        full,
        {
            _text('name of a fact', name): None
            if value is None
            else _json('value of a fact', value)
            for name, value in facts.items()
        },
    )


def _outcome(data: Mapping[str, Any]) -> Outcome:
    get = data.get
    command_id, outcome = get('command_id'), get('outcome')
    if not isinstance(command_id, str) or not topics.is_command_id(command_id):
        raise Rejected('command_id: not 1 to 64 of A-Z a-z 0-9 _ . -')
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        raise Rejected(f'outcome: {outcome!r:.50} is not known')
    error = get('error')
    if error is not None:
        _object('error', error)
    return Outcome(
        _text('caller', get('caller'), least=0),
        command_id,
        _text('digest', get('digest'), 64, least=0),
        _text('command', get('command')),
        outcome,
        _json('result', get('result')),
        _json('error', error),
        _optional_number('started', get('started')),
        _optional_number('seconds', get('seconds')),
    )


def _event(data: Mapping[str, Any]) -> Event:
    return Event(
        _text('type', data.get('type')),
        _number('at', data.get('at')),
        _json('data', _object('data of the event', data.get('data'))),
    )


_READERS: dict[
    str, Callable[[Mapping[str, Any]], Heartbeat | Facts | Outcome | Event]
] = {HEARTBEAT: _heartbeat, FACTS: _facts, OUTCOME: _outcome, EVENT: _event}


def _instance(value: Any) -> str:
    if not isinstance(value, str):
        raise Rejected('instance: not text')
    try:
        return topics.check_instance_id(value)
    except errors.InvalidArgument as error:
        raise Rejected(str(error)[:300]) from None


def _printable(value: str) -> bool:
    """Whether any database stores, compares and returns this text unchanged.

    Not so with NUL and half a surrogate pair; and MariaDB takes "a" and "a " for one.
    """
    return value.isprintable() and value == value.strip()


def _text(
    name: str, value: Any, length: int = tables.NAME_LENGTH, least: int = 1
) -> str:
    if not isinstance(value, str) or not least <= len(value) <= length:
        raise Rejected(f'{name}: not text of {least} to {length} characters')
    if not _printable(value):
        raise Rejected(
            f'{name}: holds characters that cannot be printed, or begins '
            f'or ends with a space'
        )
    return value


def _optional_text(
    name: str, value: Any, length: int = tables.NAME_LENGTH
) -> str | None:
    return None if value is None else _text(name, value, length, least=0)


def _version(value: Any) -> str | None:
    return _optional_text('version of an extension', value, tables.VERSION_LENGTH)


def _sentence(value: str) -> str:
    """Return text for people, cut to a bound: they had better read it than not."""
    value = value[:_HEALTH_LENGTH]
    if value.isprintable():
        return value
    return ''.join(sign if sign.isprintable() else ' ' for sign in value)


def _number(name: str, value: Any) -> float:
    """Return a number that may be a time."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Rejected(f'{name}: not a number')
    if not 0 <= value <= _LAST_TIME or math.isnan(value):
        raise Rejected(f'{name}: below 0, or too large')
    return float(value)


def _optional_number(name: str, value: Any) -> float | None:
    return None if value is None else _number(name, value)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Rejected(f'{name}: not an object')
    return value


#: In ASCII, so that any text can be stored, and the same value is the same text.
_dumps = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(',', ':')).encode


def _json(name: str, value: Any) -> str:
    try:
        return _dumps(value)
    except (ValueError, RecursionError) as error:
        raise Rejected(f'{name}: not JSON: {error}') from None
