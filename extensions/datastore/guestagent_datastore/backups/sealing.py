# SPDX-License-Identifier: Apache-2.0
"""The encryption of backups: a stream of sealed chunks; no I/O but a file of keys.

The form is ``MAGIC``, 8 bytes that name the key, the 24 bytes with which libsodium's
``crypto_secretstream_xchacha20poly1305`` begins, and chunks of ``CHUNK`` bytes of plain
text, each 17 bytes longer than that; the last one is shorter, may be empty, and is
marked as the last.  The first two stand behind the first chunk as its additional data.
Each chunk proves its place in the stream: one that is changed, lost, repeated or moved
does not open, and a stream that was cut has no last one.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping

from nacl import bindings, exceptions

from guestagent import errors

MAGIC = b'gabackup1\n'
CHUNK = 256 * 1024
KEY_SIZE = bindings.crypto_secretstream_xchacha20poly1305_KEYBYTES

_OVERHEAD = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_START = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_NAME = 8
#: What stands before the first chunk.
_HEAD = len(MAGIC) + _NAME + _START


def name_of(key: bytes) -> bytes:
    """Return what names a key in public."""
    return hashlib.blake2b(key, digest_size=_NAME, person=b'gabackup').digest()


class Sealer:
    """Turns a stream into its sealed form."""

    def __init__(self, key: bytes) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        start = bindings.crypto_secretstream_xchacha20poly1305_init_push(
            self._state, key
        )
        self._added: bytes | None = MAGIC + name_of(key)
        self._out = self._added + start
        self._rest = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what of the sealed form is ready."""
        self._rest += data
        ready = [self._out]
        self._out = b''
        # One chunk is kept: it may be the last one.
        while len(self._rest) > CHUNK:
            ready.append(self._push(bytes(self._rest[:CHUNK]), _MESSAGE))
            del self._rest[:CHUNK]
        return b''.join(ready)

    def finish(self) -> bytes:
        """Return the end of the sealed form."""
        return self._out + self._push(bytes(self._rest), _FINAL)

    def _push(self, chunk: bytes, tag: int) -> bytes:
        added, self._added = self._added, None
        sealed: bytes = bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, chunk, added, tag
        )
        return sealed


class Opener:
    """Turns a sealed form into what it was made from.

    :param keys: by their names.
    """

    def __init__(self, keys: Mapping[bytes, bytes]) -> None:
        self._keys = keys
        self._state: bindings.crypto_secretstream_xchacha20poly1305_state | None = None
        self._added: bytes | None = None
        self._rest = bytearray()
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """Take the next sealed bytes; return what they hold.

        :raises guestagent.errors.StorageError: they are not what was sealed.
        """
        self._rest += data
        if self._state is None:
            if len(self._rest) < _HEAD:
                return b''
            self._begin()
        # What may be the last chunk is kept until more comes or nothing.
        return b''.join(self._open(CHUNK + _OVERHEAD))

    def finish(self) -> bytes:
        """Return the end.

        :raises guestagent.errors.StorageError: the stream was cut.
        """
        if self._state is None:
            raise errors.StorageError('the backup is not encrypted as a backup is')
        last = self._pull(bytes(self._rest)) if self._rest else b''
        if not self._ended:
            raise errors.StorageError(
                'the encrypted backup was cut: its end is missing'
            )
        return last

    def _begin(self) -> None:
        head = bytes(self._rest[:_HEAD])
        del self._rest[:_HEAD]
        name = head[len(MAGIC) : -_START]
        if not head.startswith(MAGIC):
            raise errors.StorageError('the backup is not encrypted as a backup is')
        if name not in self._keys:
            raise errors.StorageError(
                f'the backup is encrypted with the key {name.hex()}, which is not in '
                f'the file of keys'
            )
        self._added = MAGIC + name
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(
            self._state, head[-_START:], self._keys[name]
        )

    def _open(self, size: int) -> Iterator[bytes]:
        while len(self._rest) > size:
            yield self._pull(bytes(self._rest[:size]))
            del self._rest[:size]

    def _pull(self, sealed: bytes) -> bytes:
        if self._ended or len(sealed) < _OVERHEAD:
            raise errors.StorageError('the encrypted backup is damaged')
        assert self._state is not None
        added, self._added = self._added, None
        try:
            chunk, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(
                self._state, sealed, added
            )
        except (exceptions.CryptoError, RuntimeError):
            raise errors.StorageError('the encrypted backup is damaged') from None
        self._ended = tag == _FINAL
        plain: bytes = chunk
        return plain


def read_keys(path: str) -> list[bytes]:
    """Return the keys of a file: one a line, 64 hexadecimal digits each.

    The first one seals; all of them open.

    :raises guestagent.errors.ConfigError: it cannot be read, others than its owner can
        read it, or it holds something else.
    """
    try:
        with open(path, 'rb') as file:
            found = os.fstat(file.fileno())
            lines = file.read(64 * 1024).split()
    except OSError as error:
        raise errors.ConfigError(
            f'the file of backup keys: {path}: {error.strerror or error}'
        ) from None
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
        raise errors.ConfigError(
            f'the file of backup keys: {path}: others than its owner have a right to '
            f'it: chmod 600'
        )
    keys = [_parse(line) for line in lines]
    if not keys or any(len(key) != KEY_SIZE for key in keys):
        raise errors.ConfigError(
            f'the file of backup keys: {path}: each line must be {2 * KEY_SIZE} '
            f'hexadecimal digits'
        )
    return keys


def _parse(line: bytes) -> bytes:
    try:
        return binascii.unhexlify(line)
    except ValueError:
        return b''
