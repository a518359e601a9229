# SPDX-License-Identifier: Apache-2.0
"""What an operator tells the conductor about enrolment, sealed; no I/O.

The bus must not decide who is let in and who is cut off.  Operators have the
conductor's master keys, as they derive the guests' from them; what they say is sealed
with a key that comes of one of these, and so is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from guestagent import errors
from guestagent.seal import contents, hkdf, keys, value

_SALT = b'guestagent operator 1'
_COMMAND, _REPLY = b'operate', b'operated'

#: By how much the clocks of operators and the conductor may differ, in milliseconds.
SKEW = 300_000

ENROLL, REVOKE, DELETE = 'enroll', 'revoke', 'delete'

#: How it is said, on the conductor's topic.
NAMESPACE, METHOD, VERSION = 'operator', 'operate', '1.0'


class Opened(NamedTuple):
    """What an operator has said.

    :ivar nonce: which the answer is bound to.
    """

    fields: dict[str, Any]
    nonce: bytes
    ways: _Ways


class _Ways(NamedTuple):
    there: value.Way
    back: value.Way


class Desk:
    """Both sides: seals what is said, and the answer.

    :param lines: master keys for reports, of which the last valid one seals.
    :raises guestagent.errors.ConfigError: there is none.
    """

    def __init__(self, lines: Sequence[keys.Line], now: float) -> None:
        self._ways = [
            _ways(line)
            for line in lines
            if line.use == keys.REPORTS and line.master and line.valid(now)
        ]
        if not self._ways:
            raise errors.ConfigError(
                'there is no master key for reports: the conductor believes only who '
                'has one of its own ("guestctl key new --use reports NAME")'
            )

    def seal(self, fields: Mapping[str, Any]) -> tuple[str, bytes]:
        """Return what is sent, and the nonce that the answer is bound to."""
        sealed = self._ways[-1].there.seal(_COMMAND, b'', contents.write(fields))
        return value.encode(sealed), value.nonce_of(sealed)

    def open_answer(self, text: Any, nonce: bytes) -> dict[str, Any]:
        """Return what the conductor has answered.

        :raises guestagent.seal.value.Broken: it was not the conductor.
        """
        sealed = value.take_apart(text)
        plain = self._ways[-1].back.open(_REPLY, nonce, sealed)
        return contents.read(plain)

    def open(self, text: Any, now: float) -> Opened:
        """Return what an operator has said.

        :raises guestagent.seal.value.Broken: it was none, or some time ago.
        """
        sealed = value.take_apart(text)
        for ways in self._ways:
            if ways.there.id == sealed.key_id:
                fields = contents.read(ways.there.open(_COMMAND, b'', sealed))
                stamp = fields.get('stamp')
                if type(stamp) is not int or abs(stamp - now * 1000) > SKEW:
                    raise value.Broken(
                        'it is of another time: are the clocks of the operator and '
                        'the conductor right?'
                    )
                return Opened(fields, sealed.nonce, ways)
        raise value.Broken("it is not sealed with one of the conductor's keys")

    @staticmethod
    def answer(opened: Opened, fields: Mapping[str, Any]) -> str:
        """Return the answer to what was said."""
        sealed = opened.ways.back.seal(_REPLY, opened.nonce, contents.write(fields))
        return value.encode(sealed)


def _ways(line: keys.Line) -> _Ways:
    def way(about: str) -> value.Way:
        info = f'{line.name}\0{about}\0'.encode()
        return value.Way(
            hkdf.derive(line.secret, _SALT, info + b'id', value.ID_SIZE),
            hkdf.derive(line.secret, _SALT, info + b'key', 2 * value.KEY_SIZE),
        )

    return _Ways(way('to conductor'), way('from conductor'))
