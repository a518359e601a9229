# SPDX-License-Identifier: Apache-2.0
"""Find out which instance this guest is, where the configuration does not say."""

from __future__ import annotations

import pathlib

from guestagent import errors
from guestagent.bus import topics

#: Where clouds and firmware leave the name, the most telling first.
PLACES = (
    '/var/lib/cloud/data/instance-id',
    '/sys/class/dmi/id/product_uuid',
    '/etc/machine-id',
)


def find(configured: str | None, root: pathlib.Path = pathlib.Path('/')) -> str:
    """Return the instance id.

    :raises guestagent.errors.ConfigError: there is none, or it cannot be one.
    """
    if configured:
        return _checked(configured, '[DEFAULT] instance_id')
    for place in PLACES:
        try:
            text = (root / place.lstrip('/')).read_text(encoding='ascii').strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text and text != 'uninitialized':
            return _checked(text.lower() if 'dmi' in place else text, place)
    raise errors.ConfigError(
        'which instance is this? Set [DEFAULT] instance_id; none of '
        f'{", ".join(PLACES)} can be read'
    )


def _checked(text: str, source: str) -> str:
    try:
        return topics.check_instance_id(text)
    except errors.InvalidArgument as error:
        raise errors.ConfigError(f'{source}: {error}') from None
