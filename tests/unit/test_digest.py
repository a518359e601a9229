# SPDX-License-Identifier: Apache-2.0
"""The digest is SHA-256, whoever computes it."""

import hashlib

import pytest

from guestagent import digest


@pytest.mark.parametrize('size', [0, 1, 55, 56, 64, 1000, 100_000])
def test_it_is_hashlibs(size):
    data = bytes(number % 251 for number in range(size))
    assert digest.sha256(data) == hashlib.sha256(data).hexdigest()
