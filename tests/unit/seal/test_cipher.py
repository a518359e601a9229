# SPDX-License-Identifier: Apache-2.0
import os

import pytest
from nacl import bindings

from guestagent.seal import cipher

# draft-irtf-cfrg-xchacha-03, appendix A.3.1
PLAIN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
    b'the future, sunscreen would be it.'
)
ABOUT = bytes.fromhex('50515253c0c1c2c3c4c5c6c7')
KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
TEXT = bytes.fromhex(
    'bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa644'
    '0bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e'
    '3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e'
    'c0875924c1c7987947deafd8780acf49'
)


def test_it_does_as_the_draft_says():
    made = cipher.Cipher(KEY)

    assert bytes(made.encrypt(PLAIN, ABOUT, NONCE)) == TEXT
    assert made.decrypt(TEXT, ABOUT, NONCE) == PLAIN


@pytest.mark.parametrize('size', [0, 1, 63, 64, 65, 100_000])
def test_it_does_as_pynacl_does(size):
    key, nonce, about = os.urandom(32), os.urandom(24), os.urandom(size % 7)
    plain, made = os.urandom(size), cipher.Cipher(key)

    text = bytes(made.encrypt(plain, about, nonce))

    assert text == bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plain, about, nonce, key
    )
    assert made.decrypt(text, about, nonce) == plain


@pytest.mark.parametrize('place', [0, 50, len(TEXT) - 16, len(TEXT) - 1])
def test_what_was_changed_does_not_open(place):
    changed = bytearray(TEXT)
    changed[place] ^= 1

    with pytest.raises(cipher.Forged):
        cipher.Cipher(KEY).decrypt(bytes(changed), ABOUT, NONCE)


@pytest.mark.parametrize(
    ('text', 'about', 'nonce'),
    [
        (TEXT[:-1], ABOUT, NONCE),
        (TEXT[:15], ABOUT, NONCE),
        (b'', ABOUT, NONCE),
        (TEXT, ABOUT[:-1], NONCE),
        (TEXT, b'', NONCE),
        (TEXT, ABOUT, NONCE[::-1]),
    ],
)
def test_what_is_not_as_it_was_made_does_not_open(text, about, nonce):
    with pytest.raises(cipher.Forged):
        cipher.Cipher(KEY).decrypt(text, about, nonce)


@pytest.mark.parametrize('size', [0, 23, 25])
def test_libsodium_is_given_whole_nonces_and_keys_only(size):
    made = cipher.Cipher(KEY)

    with pytest.raises(ValueError, match='nonce'):
        made.encrypt(PLAIN, ABOUT, bytes(size))
    with pytest.raises(ValueError, match='nonce'):
        made.decrypt(TEXT, ABOUT, bytes(size))
    with pytest.raises(ValueError, match='key'):
        cipher.Cipher(bytes(size))
