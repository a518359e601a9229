# SPDX-License-Identifier: Apache-2.0
"""The one-time token of a guest: one line of text; no I/O."""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import NamedTuple

from guestagent import errors
from guestagent.bus import topics

_BEGIN = 'gat1-'
SECRET_SIZE = 32
#: A token is never longer, in characters.
LENGTH_MAX = 8192


class Token(NamedTuple):
    """What a guest is handed.

    :ivar secret: 32 bytes that prove it, and open what it is exchanged for.
    :ivar url: the transport URL of those who have nothing but a token.
    :ivar expires: UNIX seconds, by the conductor's clock.
    """

    instance: str
    secret: bytes
    url: str
    expires: int

    def __repr__(self) -> str:
        return f'<token of {self.instance}>'

    def __str__(self) -> str:
        """Return the line; it is a secret."""
        fields = {
            'instance': self.instance,
            'secret': base64.b64encode(self.secret).decode(),
            'url': self.url,
            'expires': self.expires,
        }
        text = json.dumps(fields, separators=(',', ':')).encode()
        return _BEGIN + base64.urlsafe_b64encode(text).decode().rstrip('=')


def new(instance: str, url: str, expires: int) -> Token:
    """Return a token with a new secret."""
    return Token(instance, os.urandom(SECRET_SIZE), url, expires)


def parse(text: str, where: str) -> Token:
    """Return the token in a text.

    :param where: what an error calls the text.
    :raises guestagent.errors.ConfigError: it is none; its text is not shown.
    """
    text = text.strip()
    try:
        if not text.startswith(_BEGIN) or len(text) > LENGTH_MAX:
            raise ValueError('it does not begin with gat1-, or is too long')
        digits = text[len(_BEGIN) :]
        fields = json.loads(
            base64.b64decode(digits + '=' * (-len(digits) % 4), b'-_', validate=True)
        )
        found = Token(
            topics.check_instance_id(fields['instance']),
            base64.b64decode(fields['secret'], validate=True),
            fields['url'],
            fields['expires'],
        )
        if (
            len(found.secret) != SECRET_SIZE
            or not isinstance(found.url, str)
            or type(found.expires) is not int
        ):
            raise ValueError('it is damaged')
    except (ValueError, TypeError, KeyError, binascii.Error, errors.InvalidArgument):
        # Not what Python says of it, which may show a part.
        raise errors.ConfigError(
            f'{where}: it is no token, or a damaged one: write it as "guestctl '
            f'instance enroll" has printed it'
        ) from None
    return found
