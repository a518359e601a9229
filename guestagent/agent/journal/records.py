# SPDX-License-Identifier: Apache-2.0
"""What stands in the journal's file; no I/O.

Each record begins with its kind and the number of its command::

    instance   'I'  0, u64       JSON text: whose commands these are; the first record
    accepted   'A'  number, u64  JSON [caller, id, digest, command, at, again]
    ended      'E'  number, u64  '0' or '1'  JSON [data, failure]
    delivered  'D'  number, u64

``again`` is what it takes to run the command once more, ``[namespace, method, version,
args, proven]``, or null; older journals have no ``proven``.  ``data`` and ``failure``
are those of :mod:`guestagent.agent.outcomes`; the '1' says that the outcome is
delivered.  Nothing that an author has called sensitive is among these.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

from guestagent.agent import request as requests

#: The kind of the file, and the version of what is described here.
KIND, VERSION = b'journal', 1

INSTANCE, ACCEPTED, ENDED, DELIVERED = b'I', b'A', b'E', b'D'

#: Larger arguments are not kept, so the command cannot be run again, in bytes of JSON.
AGAIN_MAX = 1024 * 1024

_HEAD = struct.Struct('<cQ')

# A call of json.dumps that asks for these makes an encoder each time.
_encode = json.JSONEncoder(separators=(',', ':')).encode


class Accepted(NamedTuple):
    """What a record says of a command that was accepted.

    :ivar at: UNIX seconds, by the guest's clock.
    :ivar again: ``[namespace, method, version, args, proven]``, or ``None``.
    """

    caller: str
    id: str
    digest: str
    command: str
    at: float
    again: list[Any] | None


def encode_instance(instance: str) -> bytes:
    """Return the record that says whose commands follow."""
    return _HEAD.pack(INSTANCE, 0) + _dump(instance)


def is_of_another(record: bytes, instance: str) -> bool:
    """Whether this is the record of another instance."""
    kind = record[:1]
    return kind == INSTANCE and record != encode_instance(instance)


def encode_accepted(request: requests.Request, at: float) -> bytes:
    """Return the record of a request without its number, for :func:`numbered`.

    Its arguments are in it only if it may run again.
    """
    again, info = None, request.command.info if request.command else None
    if info is not None and info.repeatable and not info.sensitive & set(request.args):
        again = [
            request.namespace,
            request.method,
            request.version,
            request.args,
            request.proven,
        ]
    about = Accepted(
        request.caller, request.id, request.digest, request.name, at, again
    )
    text = _dump(about)
    if len(text) > AGAIN_MAX:
        text = _dump(about._replace(again=None))
    return text


def numbered(number: int, accepted: bytes) -> bytes:
    """Return a record of what :func:`encode_accepted` has encoded."""
    return _HEAD.pack(ACCEPTED, number) + accepted


def encode_ended(
    number: int,
    data: dict[str, Any],
    failure: dict[str, Any] | None,
    delivered: bool = False,
) -> bytes:
    """Return the record of an outcome."""
    return (
        _HEAD.pack(ENDED, number)
        + (b'1' if delivered else b'0')
        + _dump([data, failure])
    )


def encode_delivered(number: int) -> bytes:
    """Return the record that others have the outcome."""
    return _HEAD.pack(DELIVERED, number)


def head(record: bytes) -> tuple[bytes, int]:
    """Return the kind of a record, and the number of its command.

    :raises ValueError: it is none.
    """
    if len(record) < _HEAD.size:
        raise ValueError('it is too short')
    kind, number = _HEAD.unpack_from(record)
    if kind not in (INSTANCE, ACCEPTED, ENDED, DELIVERED):
        raise ValueError(f'there is no kind {kind!r}')
    return kind, number


def accepted(record: bytes) -> Accepted:
    """Return what a record of this kind holds.

    :raises ValueError: it makes no sense.
    """
    try:
        return Accepted(*json.loads(record[_HEAD.size :]))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def is_delivered(record: bytes) -> bool:
    """Whether an outcome was marked as delivered when it was written."""
    return record[_HEAD.size : _HEAD.size + 1] == b'1'


def ended(record: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the data and the failure of an outcome.

    :raises ValueError: it makes no sense.
    """
    try:
        data, failure = json.loads(record[_HEAD.size + 1 :])
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return data, failure


def compact(record: bytes, finished: bool, delivered: bool) -> bytes:
    """Return what is still needed of a record when the file is written anew.

    :param finished: its command has ended: it never runs again.
    :param delivered: others have its outcome.
    """
    kind, number = head(record)
    if kind == ACCEPTED and finished:
        return numbered(number, _dump(accepted(record)._replace(again=None)))
    if kind == ENDED and delivered:
        return record[: _HEAD.size] + b'1' + record[_HEAD.size + 1 :]
    return record


def _dump(value: Any) -> bytes:
    return _encode(value).encode()
