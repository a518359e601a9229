# SPDX-License-Identifier: Apache-2.0
"""D-Bus messages as bytes, and back: rules without I/O.

As the D-Bus specification has them (https://dbus.freedesktop.org/doc), but for file
descriptors.  Values are Python's own: a struct is a tuple, a dictionary a dict, and a
variant a :class:`Variant` when it is written, its bare value when it was read.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
#: Flags of a call: nobody waits for an answer; no service is to be started for it.
NO_REPLY, NO_AUTO_START = 1, 2
#: The longest message that is read; logind's are some kilobytes.
MESSAGE_MAX = 1024 * 1024
#: The part of a message that tells how long it is.
FIXED = 16

_DEPTH_MAX = 32
_FORMATS = {
    'y': 'B',
    'b': 'I',
    'n': 'h',
    'q': 'H',
    'i': 'i',
    'u': 'I',
    'h': 'I',
    'x': 'q',
    't': 'Q',
    'd': 'd',
}
_PATH, _INTERFACE, _MEMBER, _ERROR, _REPLY_TO, _DESTINATION, _SENDER, _SIGNATURE = (
    range(1, 9)
)


class Malformed(Exception):
    """Bytes that are no message."""


class Variant(NamedTuple):
    """A value that carries its type, to be written."""

    signature: str
    value: Any


class Message(NamedTuple):
    """A message; what it does not have is ``''``, or 0."""

    kind: int
    path: str = ''
    interface: str = ''
    member: str = ''
    destination: str = ''
    signature: str = ''
    body: tuple[Any, ...] = ()
    serial: int = 0
    reply_to: int = 0
    error: str = ''
    sender: str = ''
    flags: int = 0


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    body = _Writer()
    body.write_all(message.signature, message.body)
    named = (
        (_PATH, 'o', message.path),
        (_INTERFACE, 's', message.interface),
        (_MEMBER, 's', message.member),
        (_ERROR, 's', message.error),
        (_REPLY_TO, 'u', message.reply_to),
        (_DESTINATION, 's', message.destination),
        (_SIGNATURE, 'g', message.signature),
    )
    fields = [(code, Variant(kind, value)) for code, kind, value in named if value]
    head = _Writer()
    head.write_all(
        'yyyyuua(yv)',
        (
            *(ord('l'), message.kind, message.flags, 1),
            *(len(body.data), message.serial, fields),
        ),
    )
    head.align(8)
    return bytes(head.data + body.data)


def measure(fixed: bytes) -> int:
    """Return how long the message is that begins with these :data:`FIXED` bytes.

    :raises Malformed: it is none, or longer than :data:`MESSAGE_MAX`.
    """
    order = _order(fixed)
    body, _serial, fields = struct.unpack_from(order + 'III', fixed, 4)
    length = FIXED + (fields + 7) // 8 * 8 + body
    if length > MESSAGE_MAX:
        raise Malformed(f'a message of {length} bytes')
    return int(length)


def decode(data: bytes) -> Message:
    """Return a whole message.

    :raises Malformed: it is none.
    """
    reader = _Reader(data, _order(data))
    try:
        _, kind, flags, version, length, serial, pairs = reader.read_all('yyyyuua(yv)')
        reader.align(8)
        fields = dict(pairs)
        signature = fields.get(_SIGNATURE, '')
        if version != 1 or length != len(data) - reader.at:
            raise Malformed('a message of another version or length')
        texts = [
            fields.get(code, '')
            for code in (_PATH, _INTERFACE, _MEMBER, _DESTINATION, _ERROR, _SENDER)
        ]
        reply_to = fields.get(_REPLY_TO, 0)
        if not all(isinstance(text, str) for text in (*texts, signature)):
            raise Malformed('a field of another type')
        if type(reply_to) is not int:
            raise Malformed('a field of another type')
        path, interface, member, destination, error, sender = texts
        return Message(
            *(kind, path, interface, member, destination, signature),
            *(tuple(reader.read_all(signature)), serial, reply_to),
            *(error, sender, flags),
        )
    except (struct.error, IndexError, UnicodeDecodeError, TypeError) as error:
        raise Malformed(f'not a message: {error}') from None


def split(signature: str) -> list[str]:
    """Return the single types of a signature.

    :raises Malformed: it is none.
    """
    found, at = [], 0
    while at < len(signature):
        end = _end(signature, at, 0)
        found.append(signature[at:end])
        at = end
    return found


def _order(data: bytes) -> str:
    order = {b'l': '<', b'B': '>'}.get(data[:1])
    if order is None or len(data) < FIXED:
        raise Malformed('not the beginning of a message')
    return order


def _end(signature: str, at: int, depth: int) -> int:
    """Return where the type ends that begins here."""
    if at >= len(signature) or depth > _DEPTH_MAX:
        raise Malformed('not a signature')
    code = signature[at]
    if code in _FORMATS or code in 'sogv':
        return at + 1
    if code == 'a':
        return _end(signature, at + 1, depth + 1)
    close = {'(': ')', '{': '}'}.get(code)
    if close is None:
        raise Malformed('not a signature')
    at += 1
    count = 0
    while signature[at : at + 1] != close:
        at = _end(signature, at, depth + 1)
        count += 1
    if count == 0 or (code == '{' and count != 2):
        raise Malformed('not a signature')
    return at + 1


def _alignment(kind: str) -> int:
    code = kind[0]
    if code in '({':
        return 8
    if code in 'soa':
        return 4
    if code in 'gv':
        return 1
    return struct.calcsize('<' + _FORMATS[code])


class _Writer:
    """Appends values, each at its alignment."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def write_all(self, signature: str, values: Any) -> None:
        for kind, value in zip(split(signature), values, strict=True):
            self._write(kind, value)

    def _write(self, kind: str, value: Any) -> None:
        code = kind[0]
        self.align(_alignment(kind))
        if code in 'so':
            text = value.encode()
            self.data += struct.pack('<I', len(text)) + text + b'\0'
        elif code == 'g':
            self._write_signature(value)
        elif code == 'v':
            self._write_signature(value.signature)
            self._write(value.signature, value.value)
        elif code in '({':
            self.write_all(kind[1:-1], value)
        elif code == 'a':
            self._write_array(kind[1:], value)
        else:
            self.data += struct.pack('<' + _FORMATS[code], value)

    def _write_signature(self, text: str) -> None:
        self.data += bytes((len(text),)) + text.encode() + b'\0'

    def _write_array(self, kind: str, value: Any) -> None:
        place = len(self.data)
        self.data += bytes(4)
        self.align(_alignment(kind))
        start = len(self.data)
        for item in value.items() if isinstance(value, dict) else value:
            self._write(kind, item)
        struct.pack_into('<I', self.data, place, len(self.data) - start)


class _Reader:
    """Reads values; an IndexError or struct.error says that there are no more."""

    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order
        self._depth = 0
        self.at = 0

    def align(self, size: int) -> None:
        self.at += -self.at % size

    def read_all(self, signature: str) -> list[Any]:
        return [self._read(kind) for kind in split(signature)]

    def _read(self, kind: str) -> Any:
        code = kind[0]
        self.align(_alignment(kind))
        if code in _FORMATS:
            return self._read_number(code)
        if code in 'sog':
            length = self._read_number('y' if code == 'g' else 'u')
            return self._take(length + 1)[:-1].decode()
        self._depth += 1
        if self._depth > 2 * _DEPTH_MAX:
            raise Malformed('values within values without end')
        try:
            if code == 'a':
                return self._read_array(kind[1:])
            if code == 'v':
                inner = split(self._read('g'))
                if len(inner) != 1:
                    raise Malformed('a variant of not one type')
                return self._read(inner[0])
            return tuple(self.read_all(kind[1:-1]))
        finally:
            self._depth -= 1

    def _read_array(self, kind: str) -> Any:
        length = self._read_number('u')
        self.align(_alignment(kind))
        end = self.at + length
        if end > len(self._data):
            raise IndexError('an array beyond the end')
        items = []
        while self.at < end:
            items.append(self._read(kind))
        if self.at != end:
            raise Malformed('an array of another length')
        return dict(items) if kind[0] == '{' else items

    def _read_number(self, code: str) -> Any:
        form = self._order + _FORMATS[code]
        (number,) = struct.unpack_from(form, self._data, self.at)
        self.at += struct.calcsize(form)
        return bool(number) if code == 'b' else number

    def _take(self, length: int) -> bytes:
        found = self._data[self.at : self.at + length]
        if len(found) != length:
            raise IndexError('a text beyond the end')
        self.at += length
        return found
