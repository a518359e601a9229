# SPDX-License-Identifier: Apache-2.0
"""Where a user's object storage is, by the catalog that came with a token; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guestagent import errors


def object_store(
    catalog: Sequence[Mapping[str, Any]],
    region: str = '',
    interface: str = 'public',
    kind: str = 'object-store',
) -> str:
    """Return the URL of the user's account.

    :param catalog: Keystone's, in the form of its version 2 or 3.
    :param region: ``''``: any.
    :param interface: ``public``, ``internal`` or ``admin``.
    :raises guestagent.errors.InvalidArgument: the catalog names none.
    """
    for service in catalog:
        if service.get('type') != kind:
            continue
        for endpoint in service.get('endpoints', ()):
            if region and region not in (
                endpoint.get('region'),
                endpoint.get('region_id'),
            ):
                continue
            if endpoint.get('interface') == interface and endpoint.get('url'):
                return str(endpoint['url'])
            if endpoint.get(f'{interface}URL'):
                return str(endpoint[f'{interface}URL'])
    where = f' in region {region}' if region else ''
    raise errors.InvalidArgument(
        f'the service catalog names no {interface} endpoint of {kind}{where}'
    )
