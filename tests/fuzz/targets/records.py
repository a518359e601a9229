# SPDX-License-Identifier: Apache-2.0
"""What is kept on the disk."""

from __future__ import annotations

import contextlib

from guestagent.agent import recordformat
from guestagent.agent.audit import chain
from guestagent.agent.journal import records
from tests.fuzz import registry

_HEADER = recordformat.Header(b'journal', 1, 7)
_FRAMES = _HEADER.encode() + _HEADER.frame(b'one') + _HEADER.frame(b'two')


@registry.target(
    _FRAMES, _FRAMES + bytes(20), _FRAMES[:-1], _FRAMES + b'\xffrec' + _FRAMES
)
def record_file(data: bytes) -> None:
    """A damaged file gives records that were written, and counts the rest."""
    try:
        parser = recordformat.Parser(data)
    except recordformat.Damaged:
        return
    size = recordformat.HEADER_SIZE
    for at, payload in parser:
        assert data[at:].startswith(parser.header.frame(payload))
        size += recordformat.FRAME_SIZE + len(payload)
    assert size + parser.skipped == parser.end <= len(data)
    assert parser.end + parser.dropped <= len(data)


@registry.target_of(lambda: [_HEADER.frame(b'payload')])
def journal_record(data: bytes) -> None:
    """A record of the journal is one, or is a ValueError."""
    with contextlib.suppress(ValueError):
        records.head(data)
        for read in (records.accepted, records.ended):
            with contextlib.suppress(ValueError):
                read(data)


_LINE = chain.Chain().add([{'kind': 'decision', 'command': 'exec.run'}])


@registry.target(_LINE, _LINE.replace(b'run', b'ran'), b'\n', _LINE + _LINE)
def audit_lines(data: bytes) -> None:
    """Lines of an audit log follow each other, or it is said where they do not."""
    with contextlib.suppress(chain.Broken):
        for number, record in enumerate(
            chain.follow(data.decode('utf-8', 'replace').splitlines()), 1
        ):
            assert record.head.length >= number
