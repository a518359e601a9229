# SPDX-License-Identifier: Apache-2.0
"""What a backup is wrapped in, told by the end of its name; no I/O.

``<backup id>.<form>[.zst|.gz][.sealed]``: the stream, compressed, then encrypted.
"""

from __future__ import annotations

from typing import NamedTuple

from guestagent import errors
from guestagent_datastore import models

SEALED = '.sealed'
#: The end of the name of what Trove's own agent has encrypted, in earlier years.
_FOREIGN = '.enc'

_ENDS = {'zstd': '.zst', 'gzip': '.gz', 'none': ''}


class Wrapping(NamedTuple):
    """How a stream is stored."""

    compression: str
    sealed: bool

    @property
    def end(self) -> str:
        """The end of the name."""
        return _ENDS[self.compression] + (SEALED if self.sealed else '')

    def compressor(self, level: int) -> models.Command | None:
        """Return what compresses; ``None``: nothing does."""
        if self.compression == 'zstd':
            return models.Command(('zstd', '-q', '-c', f'-{level}', '-T1'))
        if self.compression == 'gzip':
            return models.Command(('gzip', '-c', f'-{min(level, 9)}'))
        return None

    def decompressor(self) -> models.Command | None:
        """Return what unpacks it; ``None``: nothing does."""
        if self.compression == 'none':
            return None
        return models.Command((self.compression, '-q', '-d', '-c'))


def wrapping(name: str) -> Wrapping:
    """Return how an object of this name is wrapped.

    :raises guestagent.errors.InvalidArgument: in a way that nothing here opens.
    """
    if name.endswith(_FOREIGN):
        raise errors.InvalidArgument(
            f'{name}: it is encrypted by openssl, with nothing that would tell a '
            f'changed one: it is not opened here'
        )
    sealed = name.endswith(SEALED)
    inner = name.removesuffix(SEALED)
    for compression, end in _ENDS.items():
        if end and inner.endswith(end):
            return Wrapping(compression, sealed)
    return Wrapping('none', sealed)
