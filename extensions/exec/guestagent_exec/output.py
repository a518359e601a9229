# SPDX-License-Identifier: Apache-2.0
"""What is kept of a stream, and how it travels as text; no I/O."""

from __future__ import annotations

import base64
from typing import Any


class Output:
    """The first ``limit`` bytes of a stream; the others are only counted.

    :ivar total: how many bytes there were.
    """

    __slots__ = ('_kept', '_limit', 'total')

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.total = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(chunk)
        room = self._limit - len(self._kept)
        if room > 0:
            self._kept += chunk[:room]

    @property
    def truncated(self) -> bool:
        """Whether there were more bytes than are kept."""
        return self.total > self._limit

    def result(self, name: str) -> dict[str, Any]:
        """Return the members of a result that describe this stream.

        They are ``<name>``, ``<name>_encoding`` (``utf-8`` where the bytes are that,
        else ``base64``), ``<name>_truncated`` and ``<name>_bytes``, the total.
        """
        text, encoding = self._text()
        return {
            name: text,
            f'{name}_encoding': encoding,
            f'{name}_truncated': self.truncated,
            f'{name}_bytes': self.total,
        }

    def _text(self) -> tuple[str, str]:
        kept = self._kept
        try:
            return kept.decode(), 'utf-8'
        except UnicodeDecodeError as error:
            # A cut through a character makes no other bytes of a text.
            if self.truncated and error.reason == 'unexpected end of data':
                return kept[: error.start].decode(), 'utf-8'
        return base64.b64encode(kept).decode('ascii'), 'base64'
