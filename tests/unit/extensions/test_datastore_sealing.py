# SPDX-License-Identifier: Apache-2.0
"""The encryption of backups."""

import os
import pathlib

import pytest
from guestagent_datastore.backups import sealing
from hypothesis import given
from hypothesis import strategies as st

from guestagent import errors

CHUNK = sealing.CHUNK + 17
HEAD = len(sealing.MAGIC) + 8 + 24


@pytest.fixture(scope='module')
def key() -> bytes:
    return os.urandom(32)


def seal(key: bytes, *pieces: bytes) -> bytes:
    sealer = sealing.Sealer(key)
    return b''.join(map(sealer.feed, pieces)) + sealer.finish()


def open_(key: bytes, sealed: bytes, step: int = 100_000) -> bytes:
    opener = sealing.Opener({sealing.name_of(key): key})
    pieces = [opener.feed(sealed[at : at + step]) for at in range(0, len(sealed), step)]
    return b''.join(pieces) + opener.finish()


@given(
    size=st.sampled_from([-1, 0, 1]).flatmap(
        lambda by: st.sampled_from([1, sealing.CHUNK, 3 * sealing.CHUNK]).map(
            lambda size: size + by
        )
    ),
    cut=st.integers(0, sealing.CHUNK),
    step=st.sampled_from([CHUNK, CHUNK - 1, 70_001, 1 << 20]),
)
def test_what_was_sealed_opens(size: int, cut: int, step: int) -> None:
    key, data = os.urandom(32), os.urandom(size)
    assert open_(key, seal(key, data[:cut], data[cut:]), step) == data


def damaged(sealed: bytes) -> dict[str, bytes]:
    first, second = HEAD, HEAD + CHUNK
    third = second + CHUNK
    return {
        'a bit is changed': sealed[:-30] + bytes([sealed[-30] ^ 1]) + sealed[-29:],
        'the end is cut': sealed[:-1],
        'the last chunk is cut': sealed[:third],
        'all but the head is cut': sealed[:HEAD],
        'half of the head is cut': sealed[: HEAD // 2],
        'all is cut': b'',
        'two chunks have changed places': sealed[:first]
        + sealed[second:third]
        + sealed[first:second]
        + sealed[third:],
        'a chunk is lost': sealed[:first] + sealed[second:],
        'a chunk comes twice': sealed[:second] + sealed[first:],
        'more follows': sealed + b'x' * CHUNK,
        'a little more follows': sealed + b'x',
        'another name of the key': sealed[: len(sealing.MAGIC)]
        + bytes(8)
        + sealed[len(sealing.MAGIC) + 8 :],
    }


@pytest.mark.parametrize('how', list(damaged(bytes(40))))
def test_what_was_changed_is_refused(key: bytes, how: str) -> None:
    sealed = seal(key, os.urandom(2 * sealing.CHUNK + 1000))
    with pytest.raises(errors.StorageError):
        open_(key, damaged(sealed)[how])


def test_another_key_is_named(key: bytes) -> None:
    with pytest.raises(errors.StorageError, match=sealing.name_of(key).hex()):
        open_(os.urandom(32), seal(key, b'x'))


def test_keys_are_read(tmp_path: pathlib.Path) -> None:
    first, second = os.urandom(32), os.urandom(32)
    path = tmp_path / 'keys'
    path.write_text(f'{first.hex()}\n{second.hex()}\n')
    path.chmod(0o600)
    assert sealing.read_keys(str(path)) == [first, second]


@pytest.mark.parametrize(
    ('text', 'mode', 'says'),
    [
        ('', 0o600, '64 hexadecimal'),
        ('ab' * 31, 0o600, '64 hexadecimal'),
        ('zz' * 32, 0o600, '64 hexadecimal'),
        ('ab' * 32, 0o644, 'chmod 600'),
    ],
)
def test_a_bad_file_of_keys_is_refused(
    tmp_path: pathlib.Path, text: str, mode: int, says: str
) -> None:
    path = tmp_path / 'keys'
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(errors.ConfigError, match=says):
        sealing.read_keys(str(path))


def test_a_missing_file_of_keys_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match=r'keys: No such file'):
        sealing.read_keys(str(tmp_path / 'keys'))
