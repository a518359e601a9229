# SPDX-License-Identifier: Apache-2.0
"""A token for a bundle: what the guest, the conductor and the operator say; no I/O.

The operator makes a token and a *bundle*, all that the guest shall get, sealed with a
key that comes of the token.  The conductor keeps the bundle, which it cannot open, and
the public key by which the guest proves that it has the token.  The guest makes a key
pair for this one exchange and signs its public half; the bundle travels encrypted for
that.  So who reads the bus, and gets hold of the token later, still has nothing; and
who comes second with the token, and so with another key pair, is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from guestagent.seal import contents, hkdf, value

#: The exchange and the topic on which guests with a token speak, and how.
TOPIC = 'guestagent_enroll'
NAMESPACE, METHOD, VERSION = 'enroll', 'exchange', '1.0'
#: How the queues begin in which they are answered.
REPLY_QUEUE = 'reply_enroll_'

KEY_SIZE = 32

_SALT = b'guestagent enroll 1'
_REQUEST = b'guestagent enroll 1\0'
_BUNDLE = b'bundle'


class Bundle(NamedTuple):
    """What a guest gets for its token.

    :ivar keys: lines of a file of keys.
    :ivar url: its transport URL; ``''``: that of its configuration stays.
    :ivar files: PEM texts by name: ``certificate`` and ``certificate_key``.
    """

    keys: list[str]
    url: str = ''
    files: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f'<bundle of {len(self.keys)} keys>'


def verify_key(secret: bytes) -> bytes:
    """Return the public key that belongs to a token: 32 bytes."""
    public: bytes = _signing(secret)[0]
    return public


def seal(bundle: Bundle, secret: bytes, instance: str) -> str:
    """Return a bundle as only who has the token can open it."""
    sealed = _way(secret).seal(
        _BUNDLE, instance.encode(), contents.write(bundle._asdict())
    )
    return value.encode(sealed)


class Guest:
    """The guest's side of one exchange.

    :param secret: of the token.
    :param seed: 32 random bytes of this exchange, the same when it is repeated.
    """

    def __init__(self, instance: str, secret: bytes, seed: bytes) -> None:
        self._instance = instance
        self._secret = secret
        self._public, self._private = value.load().crypto_box_seed_keypair(seed)

    def request(self) -> str:
        """Return what is sent."""
        text = _REQUEST + self._instance.encode() + b'\0' + self._public
        signed = value.load().crypto_sign(text, _signing(self._secret)[1])
        return value.encode(signed)

    def open(self, answer: Any) -> Bundle:
        """Return the bundle in an answer.

        :raises guestagent.seal.value.Broken: there is none for this guest.
        """
        from nacl import exceptions

        try:
            inner = value.load().crypto_box_seal_open(
                _decode(answer), self._public, self._private
            )
        except exceptions.CryptoError:
            raise value.Broken('it is not for this guest') from None
        sealed = value.take_apart(inner.decode('ascii', 'replace'))
        plain = _way(self._secret).open(_BUNDLE, self._instance.encode(), sealed)
        fields = contents.read(plain)
        try:
            return Bundle(**{name: fields[name] for name in Bundle._fields})
        except KeyError as error:
            raise value.Broken(f'it has no {error.args[0]}') from None


def check(request: Any, instance: str, key: bytes) -> bytes:
    """Return the public key of who asks.

    :param key: of :func:`verify_key`.
    :raises guestagent.seal.value.Broken: who asks does not have the token.
    """
    from nacl import exceptions

    try:
        text: bytes = value.load().crypto_sign_open(_decode(request), key)
    except exceptions.CryptoError:
        raise value.Broken('it was not made with the token') from None
    begin = _REQUEST + instance.encode() + b'\0'
    if not text.startswith(begin) or len(text) != len(begin) + KEY_SIZE:
        raise value.Broken('it is for something else')
    return text[len(begin) :]


def answer(bundle: str, public: bytes) -> str:
    """Return a sealed bundle as only the guest of this exchange can read it.

    :param public: of :func:`check`.
    :raises guestagent.seal.value.Broken: it is no key.
    """
    from nacl import exceptions

    try:
        return value.encode(value.load().crypto_box_seal(bundle.encode(), public))
    except exceptions.CryptoError:
        raise value.Broken('its key is none') from None


def _decode(text: Any) -> bytes:
    if not isinstance(text, str):
        raise value.Broken('it is not text')
    try:
        return base64.b64decode(text.encode('ascii'), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise value.Broken('it is not base64') from None


def _signing(secret: bytes) -> Any:
    """Return the pair of keys that proves a token: public, private."""
    seed = hkdf.derive(secret, _SALT, b'sign', KEY_SIZE)
    return value.load().crypto_sign_seed_keypair(seed)


def _way(secret: bytes) -> value.Way:
    key_id = hkdf.derive(secret, _SALT, b'id', value.ID_SIZE)
    return value.Way(key_id, hkdf.derive(secret, _SALT, _BUNDLE, 2 * value.KEY_SIZE))
