# SPDX-License-Identifier: Apache-2.0
"""The chain that binds each record of the audit log to all before it; no I/O.

A line is a JSON object whose first member is ``n``, the number of the record from 1 on,
and whose last is ``chain``: the SHA-256 of the ``chain`` of the record before and of
all that stands before ``,"chain":`` in the line.  So who knows the chain's length and
its last digest (the *head*) notices whatever was changed, taken out, put in or moved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from guestagent import digest

#: What stands for the record before the first.
ORIGIN = '0' * 64

#: The kind of a record that begins a file; its ``prev`` is the head before it.
BEGIN = 'begin'

# A call of json.dumps that asks for these makes an encoder each time.
_encode = json.JSONEncoder(separators=(',', ':')).encode

_TAIL = re.compile(r',"chain":"([0-9a-f]{64})"\}')
_TAIL_LENGTH = len(',"chain":""}') + 64


class Head(NamedTuple):
    """Where a chain ends.

    :ivar length: the number of the last record; 0: there is none.
    :ivar digest: its ``chain``.
    """

    length: int = 0
    digest: str = ORIGIN


class Broken(Exception):
    """The chain does not hold; says where."""


class Chain:
    """A chain that grows.

    :ivar head: where it ends.
    """

    def __init__(self, head: Head = Head()) -> None:  # noqa: B008 (it never changes)
        self.head = head

    def add(self, records: Iterable[dict[str, Any]]) -> bytes:
        """Return the lines of records, which are the last ones from now on."""
        number, link = self.head
        lines = []
        for record in records:
            number += 1
            text = _encode({'n': number, **record})[:-1]
            link = _link(link, text)
            lines.append(f'{text},"chain":"{link}"}}\n')
        self.head = Head(number, link)
        return ''.join(lines).encode()


class Record(NamedTuple):
    """A record that was read.

    :ivar line: its line, without the end.
    """

    head: Head
    values: dict[str, Any]
    line: str


def read(line: str) -> Record:
    """Return the record in a line; whether it fits those before it is not looked at.

    :raises Broken: it is no record.
    """
    match = _TAIL.fullmatch(line[-_TAIL_LENGTH:])
    if match is None:
        raise Broken('a line is no record')
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise Broken('a line is no JSON') from None
    number = values.get('n') if isinstance(values, dict) else None
    if type(number) is not int or number < 1:
        raise Broken('a record has no number')
    return Record(Head(number, match[1]), values, line)


def follow(lines: Iterable[str]) -> Iterator[Record]:
    """Return the records in lines, each of which fits the one before.

    The first must be the first of all, or begin a file and name the head before it.

    :raises Broken: one does not.
    """
    head = None
    for line in lines:
        try:
            record = read(line)
        except Broken as error:
            after = 0 if head is None else head.length
            raise Broken(f'after record {after}: {error}') from None
        number = record.head.length
        if head is None:
            head = _before(record)
        if number != head.length + 1:
            raise Broken(f'record {number} follows record {head.length}')
        if _link(head.digest, line[:-_TAIL_LENGTH]) != record.head.digest:
            raise Broken(f'record {number}, or one before it, was changed')
        head = record.head
        yield record


def _before(record: Record) -> Head:
    """Return the head on which the first record that is there says to stand."""
    number = record.head.length
    if number == 1:
        return Head()
    prev = record.values.get('prev')
    if record.values.get('kind') != BEGIN or not isinstance(prev, str):
        raise Broken(f'record {number} is the first, and does not begin a file')
    return Head(number - 1, prev)


def _link(before: str, text: str) -> str:
    return digest.sha256(f'{before}{text}'.encode('utf-8', 'surrogatepass'))
