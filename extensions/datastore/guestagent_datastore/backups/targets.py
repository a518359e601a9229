# SPDX-License-Identifier: Apache-2.0
"""Where to keep something: what a caller says, and what the options say; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guestagent import errors
from guestagent_datastore.storage import base


def make(
    conf: Any, storage: str, given: Mapping[str, Any], container: str
) -> base.Target:
    """Return where to keep something.

    :param conf: the section [datastore].
    :param storage: ``''``: what the options say.
    :param given: any of ``url``, ``token``, ``container``.
    :param container: where none is given.
    :raises guestagent.errors.InvalidArgument: there is something else in it, or nobody
        says where the storage is.
    """
    unknown = set(given) - {'url', 'token', 'container'}
    if unknown or not all(isinstance(value, str) for value in given.values()):
        raise errors.InvalidArgument(
            'target: it takes url, token and container, each a text'
        )
    storage = storage or conf.backup_storage
    url = conf.backup_folder if storage == 'file' else conf.swift_url
    if given.get('url'):
        if storage == 'file':
            # The agent may write anywhere, and who may make backups may not.
            raise errors.InvalidArgument(
                'target: url: of the storage file it is [datastore] backup_folder'
            )
        url = given['url']
    if not url:
        raise errors.InvalidArgument(
            f'target: url: nothing says where the storage {storage} is'
        )
    return base.Target(
        storage=storage,
        url=url,
        container=base.check_container(given.get('container') or container),
        token=given.get('token', ''),
        segment_size=conf.backup_segment_size,
        ca_file=conf.swift_ca_file,
        insecure=conf.swift_insecure,
    )
