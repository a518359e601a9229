# SPDX-License-Identifier: Apache-2.0
"""Keys: their text, what is derived from them, and rings of several; no I/O.

A *master key* stays with a control plane; a guest has the *instance key* that is
derived from it, for one use, one name and this guest.  From that come the keys of the
two directions.  A guest can so never seal as a caller of another guest.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import functools
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from guestagent import errors
from guestagent.bus import topics
from guestagent.seal import hkdf, value

#: What a key is for: commands and their replies, or reports and asking for them.
COMMANDS, REPORTS = 'commands', 'reports'
USES = (COMMANDS, REPORTS)

_MASTER, _INSTANCE = 'gam1-', 'gai1-'
_SALT = b'guestagent 1'
_NAME = re.compile(r'[A-Za-z0-9_.@-]{1,64}\Z')
_TIME = '%Y-%m-%dT%H:%M:%SZ'
_UNTIL = 'until'


class Line(NamedTuple):
    """A key as a line of a file has it.

    :ivar use: COMMANDS or REPORTS.
    :ivar name: of the caller, or of the conductor.
    :ivar until: UNIX seconds after which it is worth nothing; ``None``: for ever.
    """

    use: str
    name: str
    master: bool
    secret: bytes
    until: float | None = None

    def __repr__(self) -> str:
        return f'<key {self.use} {self.name}>'

    def __str__(self) -> str:
        """Return the line; it holds the secret."""
        kind = _MASTER if self.master else _INSTANCE
        text = base64.urlsafe_b64encode(self.secret).decode('ascii').rstrip('=')
        line = f'{self.use} {self.name} {kind}{text}'
        if self.until is None:
            return line
        return f'{line} {_UNTIL} {time.strftime(_TIME, time.gmtime(self.until))}'

    def valid(self, now: float) -> bool:
        """Whether it may still be used at this time."""
        return self.until is None or now < self.until

    def ending(self, until: float) -> Line:
        """Return the same key; it ends at this time at the latest."""
        return self._replace(until=min(until, self.until or until))

    def derive(self, instance: str) -> Line:
        """Return the key of one guest that comes of this master key."""
        info = b'\0'.join(part.encode() for part in (self.use, self.name, instance))
        secret = hkdf.derive(self.secret, _SALT, info, value.KEY_SIZE)
        return self._replace(master=False, secret=secret)


class Key:
    """An instance key, ready to use.

    :ivar id: what a sealed value names it by; it tells nothing of the key.
    :ivar to_guest: seals and opens commands, or what asks for reports.
    :ivar from_guest: replies, or reports.
    """

    __slots__ = ('from_guest', 'id', 'line', 'to_guest')

    def __init__(self, line: Line) -> None:
        def derive(about: str, size: int) -> bytes:
            info = f'{line.use}\0{about}'.encode()
            return hkdf.derive(line.secret, _SALT, info, size)

        self.line = line
        self.id = derive('id', value.ID_SIZE)
        self.to_guest = value.Way(self.id, derive('to guest', 2 * value.KEY_SIZE))
        self.from_guest = value.Way(self.id, derive('from guest', 2 * value.KEY_SIZE))


class GuestRing:
    """The keys of one guest.

    :raises guestagent.errors.ConfigError: there is none, or a master key among them.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        if not lines:
            raise errors.ConfigError('there is no key')
        if any(line.master for line in lines):
            raise errors.ConfigError(
                'there is a master key (gam1-...), and a guest must not have one: '
                'give it what "guestctl key derive" makes of it'
            )
        self._keys = [Key(line) for line in lines]
        self._by_id = {key.id: key for key in self._keys}

    def find(self, key_id: bytes, now: float) -> Key | None:
        """Return a key by its id, if it is valid."""
        key = self._by_id.get(key_id)
        return key if key is not None and key.line.valid(now) else None

    def reporting(self, now: float) -> Key | None:
        """Return what seals reports: the last valid one; ``None``: there is none."""
        for key in reversed(self._keys):
            if key.line.use == REPORTS and key.line.valid(now):
                return key
        return None


class MasterRing:
    """The master keys of a caller, or of a conductor.

    :param use: what they are to be used for.
    :raises guestagent.errors.ConfigError: there is none, or an instance key among them.
    """

    #: Of how many guests keys are kept ready.
    CACHE = 65536

    def __init__(self, lines: Sequence[Line], use: str) -> None:
        self._lines = [line for line in lines if line.use == use]
        if not self._lines:
            raise errors.ConfigError(f'there is no key for {use}')
        if not all(line.master for line in lines):
            raise errors.ConfigError(
                'there is the key of a guest (gai1-...) where master keys '
                '(gam1-...) belong'
            )
        self._derive = functools.lru_cache(self.CACHE)(_derive)

    @property
    def names(self) -> list[str]:
        """The names that there are keys for."""
        return list(dict.fromkeys(line.name for line in self._lines))

    def sealing(self, name: str | None, instance: str, now: float) -> Key:
        """Return what seals for a guest: the last valid key of a name, or of all.

        :raises guestagent.errors.ConfigError: there is none.
        """
        for line in reversed(self._lines):
            if name in (None, line.name) and line.valid(now):
                return self._derive(line, instance)
        raise errors.ConfigError(
            f'there is no valid key of {name!r}; there are keys of: '
            f'{", ".join(self.names)}'
        )

    def find(self, key_id: bytes, instance: str, now: float) -> Key | None:
        """Return the key of a guest by its id, if it is valid."""
        for line in reversed(self._lines):
            key = self._derive(line, instance)
            if key.id == key_id:
                return key if line.valid(now) else None
        return None


def parse(text: str, where: str) -> list[Line]:
    """Return the keys in a text, a line for each; see doc/sealing.rst.

    :param where: what an error calls the text.
    :raises guestagent.errors.ConfigError: a line makes no sense; it is named, and its
        text is not.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith('#'):
            try:
                found.append(_parse(words))
            except ValueError as error:
                raise errors.ConfigError(f'{where}, line {number}: {error}') from None
    return found


def check_name(name: str) -> str:
    """Return the name of a caller.

    :raises ValueError: it is none.
    """
    if not _NAME.match(name):
        raise ValueError('a name is 1 to 64 of A-Z a-z 0-9 _ . @ -')
    return name


def parse_time(text: str) -> float:
    """Return the UNIX seconds of a time as 2027-01-31T12:00:00Z.

    :raises ValueError: it is none.
    """
    try:
        found = float(calendar.timegm(time.strptime(text, _TIME)))
    except ValueError:
        found = -1.0
    if found < 0:
        raise ValueError('a time is written in UTC, as 2027-01-31T12:00:00Z')
    return found


def _derive(line: Line, instance: str) -> Key:
    return Key(line.derive(topics.check_instance_id(instance)))


def _parse(words: list[str]) -> Line:
    if len(words) not in (3, 5) or words[3:4] not in ([], [_UNTIL]):
        raise ValueError('a line is: commands|reports NAME KEY [until TIME]')
    use, name, key = words[:3]
    if use not in USES:
        raise ValueError(f'the first word is none of: {", ".join(USES)}')
    until = parse_time(words[4]) if len(words) == 5 else None
    return Line(use, check_name(name), *_parse_key(key), until)


def _parse_key(text: str) -> tuple[bool, bytes]:
    """Return whether it is a master key, and its 32 bytes; no error tells any."""
    if not text.startswith((_MASTER, _INSTANCE)):
        raise ValueError('a key begins with gam1- (master) or gai1- (of a guest)')
    digits = text[len(_MASTER) :]
    try:
        secret = base64.b64decode(f'{digits}=', altchars=b'-_', validate=True)
    except (binascii.Error, ValueError):
        secret = b''
    if len(secret) != value.KEY_SIZE:
        raise ValueError('the key is damaged: 43 of A-Z a-z 0-9 - _ follow gam1-')
    return text.startswith(_MASTER), secret
