# SPDX-License-Identifier: Apache-2.0
"""New keys for a guest that was enrolled; those before go on for a while."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from guestagent import errors, keyfile
from guestagent.agent import enrolling
from guestagent.bus import url as urls
from guestagent.seal import keys

LOG = logging.getLogger(__name__)

#: The longest time for which the keys before may go on, in seconds.
OVERLAP_MAX = 366 * 86400.0


def rotate(conf: Any, lines: Sequence[str], url: str, overlap: float) -> str:
    """Write new keys in front of which those before end after a while.

    :param lines: of a file of keys; what is there already stays as it is.
    :param url: a transport URL in place of the one that the guest got; ``''``: none.
    :param overlap: for how many seconds keys that are not among ``lines`` go on.
    :returns: the URL that counts now; ``''``: that before.
    :raises guestagent.errors.InvalidArgument: there is no key in the lines, or one
        that is not a guest's; or it is no URL.
    :raises guestagent.errors.Refused: this guest was not enrolled.
    :raises guestagent.errors.StorageError: it cannot be written.
    """
    enrolled = enrolling.read(conf)
    if enrolled is None:
        raise errors.Refused(
            'this guest was not enrolled: its keys are where its configuration says'
        )
    if not 0 <= overlap <= OVERLAP_MAX:
        raise errors.InvalidArgument(f'overlap {overlap:g}: it must be 0 to a year')
    try:
        new = keys.parse('\n'.join(lines), 'keys')
        keys.GuestRing(new)
        if url:
            urls.parse(url)
    except errors.ConfigError as error:
        raise errors.InvalidArgument(str(error)) from None
    path = enrolling.path_of(conf, enrolling.KEYS)
    kept = _ending(keyfile.read(path, ''), new, time.time(), overlap)
    text = ''.join(f'{line}\n' for line in [*kept, *new])
    enrolling.write(path, text.encode())
    if url:
        both = with_former(url, enrolled['url'])
        fields = json.dumps({**enrolled, 'url': both}).encode()
        enrolling.write(enrolling.path_of(conf, enrolling.ENROLLED), fields)
        url = both
    LOG.info('new keys came; those before end in %.0f s', overlap)
    return url


def with_former(url: str, former: str) -> str:
    """Return a URL that tries the account of another one, too, after its own.

    Of passwords only the last is kept so: the broker knows one, the new one or the
    one before.
    """
    where = urls.parse(url)
    before = urls.parse(former).brokers if former else ()
    kept = [broker for broker in before if broker.password == before[0].password]
    brokers = tuple(dict.fromkeys([*where.brokers, *kept]))
    return urls.write(dataclasses.replace(where, brokers=brokers))


def _ending(
    before: Sequence[keys.Line], new: Sequence[keys.Line], now: float, overlap: float
) -> list[keys.Line]:
    """Return the keys that go on for a while; those that are over are left out."""
    secrets = {line.secret for line in new}
    return [
        line.ending(now + overlap)
        for line in before
        if line.valid(now) and line.secret not in secrets
    ]
