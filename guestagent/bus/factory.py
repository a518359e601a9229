# SPDX-License-Identifier: Apache-2.0
"""Make the bus that the configuration names.

Each is imported only where it is wanted: an agent holds one of them in memory.
"""

from __future__ import annotations

import functools
from typing import Any

from guestagent import errors, imports
from guestagent import loop as loops
from guestagent.bus import base, outbox, where


def make(conf: Any, loop: loops.Loop, instance: str) -> base.Bus:
    """Return the bus of an agent, not yet started.

    :raises guestagent.errors.ConfigError: ``transport_url`` makes no sense, or the
        library that the bus needs is not installed.
    """
    if conf.bus.driver == 'reference':
        return _reference().make(conf, loop, instance)
    if where.is_channel(conf.transport_url):
        return _make_channel(conf, loop, instance)
    from guestagent.bus import amqp_factory

    return amqp_factory.make(conf, loop, instance, _prefetch(conf.dispatcher))


def _make_channel(conf: Any, loop: loops.Loop, instance: str) -> base.Bus:
    from guestagent.bus import channel

    return channel.ChannelBus(
        loop,
        channel.Settings(
            path=where.guest_socket(conf.transport_url, instance),
            prefetch=_prefetch(conf.dispatcher),
            max_message_size=conf.bus.max_message_size,
            unsent_max=outbox.WAITING_BYTES + 2 * conf.dispatcher.max_result_size,
        ),
    )


def library_options(conf: Any) -> list[tuple[str, list[Any]]]:
    """Return (section, options) that a library reads from the same files by itself."""
    if conf.bus.driver != 'reference':
        return []
    return _reference().options()


@functools.cache
def _reference() -> Any:
    """Return the module of the reference bus, which imports oslo.messaging.

    :raises guestagent.errors.ConfigError: that is not installed.
    """
    # oslo.messaging imports it wherever it is installed.
    imports.refuse('eventlet')
    try:
        from guestagent.bus import reference
    except ImportError as error:
        raise errors.ConfigError(
            f'[bus] driver = reference needs oslo.messaging ({error}); install '
            f'guestagent[reference], or use driver = amqp'
        ) from None
    return reference


def _prefetch(dispatcher: Any) -> int:
    """More than can be in flight, so that a ping is never behind a full window."""
    return int(dispatcher.workers + dispatcher.backlog + 32)
