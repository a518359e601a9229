# SPDX-License-Identifier: Apache-2.0
"""Bytes as they travel: base64 text."""

from __future__ import annotations

import binascii

from guestagent_file import failures


def to_text(data: bytes) -> str:
    """Return bytes as base64."""
    from guestagent import jsontext  # an idle process may do without JSON

    # To make it of bytes at once would take ten times as long as by way of a text.
    text = binascii.b2a_base64(data, newline=False).decode('ascii')
    return jsontext.Verbatim(text)


def to_bytes(text: str) -> bytes:
    """Return the bytes in base64.

    :raises guestagent.errors.InvalidArgument: it is none.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        # Not the text itself: it may be a secret.
        raise failures.invalid('data: it is not valid base64') from None
