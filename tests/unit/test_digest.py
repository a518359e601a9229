# SPDX-License-Identifier: Apache-2.0
"""The digest is SHA-256, whoever computes it."""

import hashlib

import pytest

from guestagent import digest


@pytest.mark.parametrize('size', [0, 1, 55, 56, 64, 1000, 100_000])
def test_it_is_hashlibs(size):
    data = bytes(number % 251 for number in range(size))
    assert digest.sha256(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize('size', [0, 1, 128, 100_000])
def test_so_is_the_keyed_one(size):
    data, key, person = bytes(size), b'k' * 32, b'for this'
    expected = hashlib.blake2b(data, digest_size=24, key=key, person=person)
    assert digest.blake2b(data, 24, key, person) == expected.digest()
