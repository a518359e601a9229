# SPDX-License-Identifier: Apache-2.0
"""Which request gets a user's credentials, and the bytes of both: rules without I/O.

A request is one packet: ``1``, the token, the seat, and the user whom the greeter has
named, each followed by NUL.  The answer is one packet: ``1``, the user and the
password, each followed by NUL.  Whoever asks in vain gets no packet at all.
"""

from __future__ import annotations

import hmac
import secrets

from guestagent import errors

VERSION = b'1'
#: The longest request, and the longest answer.
REQUEST_MAX, ANSWER_MAX = 512, 1024
#: In bytes.
USER_MAX, PASSWORD_MAX = 256, 512
_TOKEN_BYTES = 32


class Offer:
    """The credentials of one user for one seat, to be had once.

    :param without_token: who names the user needs no token.
    :ivar token: what proves that who asks was told.
    :raises guestagent.errors.InvalidArgument: no such credentials can be handed over.
    """

    def __init__(
        self, user: str, password: str, seat: str, without_token: bool = False
    ) -> None:
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.seat = seat
        self._user = _encode('user', user, USER_MAX)
        self._password = bytearray(_encode('password', password, PASSWORD_MAX))
        self._without_token = without_token
        self._open = True

    def answer(self, request: bytes) -> bytearray | None:
        """Return the answer to a request, and nothing to all that follow.

        ``None``: this one gets nothing.  Who takes the answer overwrites it.
        """
        parts = request.split(b'\0')
        if not self._open or len(request) > REQUEST_MAX or len(parts) != 5:
            return None
        version, token, seat, named, rest = parts
        if version != VERSION or rest or seat != self.seat.encode():
            return None
        if named and named not in (self._user, self._user.partition(b'@')[0]):
            return None
        if token:
            if not hmac.compare_digest(token, self.token.encode()):
                return None
        elif not (self._without_token and named):
            return None
        self._open = False
        found = bytearray(VERSION + b'\0' + self._user + b'\0')
        found += self._password
        found += b'\0'
        self.forget()
        return found

    def forget(self) -> None:
        """Overwrite the password; nobody gets it any more."""
        self._open = False
        wipe(self._password)


def wipe(secret: bytearray) -> None:
    """Overwrite a secret."""
    secret[:] = bytes(len(secret))


def _encode(what: str, text: str, longest: int) -> bytes:
    data = text.encode('utf-8', 'surrogatepass')
    # Never the text: it may be a password.
    if not data or len(data) > longest:
        raise errors.InvalidArgument(f'{what}: it must have 1 to {longest} bytes')
    if b'\0' in data or b'\n' in data:
        raise errors.InvalidArgument(f'{what}: it must have no NUL and no end of line')
    return data
