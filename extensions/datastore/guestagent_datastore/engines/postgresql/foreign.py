# SPDX-License-Identifier: Apache-2.0
"""Backups that Trove's own agent has made.

Its full one is an archive of ``pg_basebackup`` with the WAL that makes it whole, as
ours.  Its incremental one is an archive of the segments of WAL from the start of the
backup before it.  Both name their first and their last segment; those of a replica do
not.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

from guestagent import errors
from guestagent_datastore.engines.postgresql import wal

#: In the metadata, what marks such a one here.
MARK = 'foreign'
_FIRST, _LAST = 'start_wal_file', 'stop_wal_file'

_NAME = re.compile(r'[0-9A-F]{24}\Z')


def known(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return what is known of a backup; of Trove's its kind and the mark is added."""
    if 'kind' in metadata:
        return metadata
    kind = 'incremental' if 'parent_location' in metadata else 'full'
    return {**metadata, 'kind': kind, MARK: 'yes'}


def follows(before: Mapping[str, str], metadata: Mapping[str, str]) -> bool:
    """Whether a backup of Trove's can follow another one."""
    return (
        MARK in before
        and metadata['kind'] == 'incremental'
        and before.get(_LAST, '')[:8] == metadata.get(_LAST, '-')[:8]
    )


def segments(
    before: Mapping[str, str], metadata: Mapping[str, str], folder: pathlib.Path
) -> tuple[list[str], int]:
    """Return the names of the WAL that must be there, without a gap, and its size.

    :param before: of the backup that it follows; empty: it is a full one.
    :param folder: where it was unpacked.
    :raises guestagent.errors.GuestError: the metadata makes no sense, or the last
        segment is not there.
    """
    first, last = before.get(_LAST) or metadata.get(_FIRST, ''), metadata.get(_LAST, '')
    if not before and not first:
        return [], 0
    if not (_NAME.match(first) and _NAME.match(last)):
        raise errors.GuestError(f'it names no WAL: {first!r} to {last!r}')
    try:
        size = (folder / last).stat().st_size
        numbers = range(wal.segment(first, size), wal.segment(last, size) + 1)
    except (FileNotFoundError, ZeroDivisionError):
        raise errors.GuestError(f'the backup is not whole: no WAL {last}') from None
    timeline = int(last[:8], 16)
    return [wal.file_name(timeline, number, size) for number in numbers], size
