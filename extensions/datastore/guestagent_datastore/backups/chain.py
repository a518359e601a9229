# SPDX-License-Identifier: Apache-2.0
"""A full backup and those that follow it, as their storage describes them; no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from guestagent import errors
from guestagent_datastore import engine as engines

#: How many there are at most.
LONGEST = 200
#: What of the metadata says how many bytes the data has, about.
SIZE = 'data_size'


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One backup of a chain.

    :ivar size: as it is stored, in bytes.
    """

    location: str
    checksum: str
    metadata: Mapping[str, str]
    size: int


def size(links: Sequence[Link]) -> int:
    """Return how many bytes the data of a chain has, about; 0: nobody knows."""
    known = [link.metadata.get(SIZE, '') for link in links]
    if not known[0].isdecimal():
        return 0
    return sum(
        int(data) if data.isdecimal() else link.size
        for data, link in zip(known, links, strict=True)
    )


def check_engine(link: Link, engine: engines.Engine) -> None:
    """Refuse a backup that says it is another engine's; Trove's own say nothing."""
    found = link.metadata.get('engine', engine.name)
    if found != engine.name:
        raise errors.InvalidArgument(
            f'{link.location}: it is a backup of {found}, not of {engine.name}'
        )
