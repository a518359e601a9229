# SPDX-License-Identifier: Apache-2.0
"""Make the transport that the configuration names; no other is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from guestagent import loop as loops
from guestagent_qga import guest as guests
from guestagent_qga import session

LOG = logging.getLogger(__name__)

#: The methods, with the device of each that has one.
METHODS = {
    'virtio-serial': '/dev/virtio-ports/org.qemu.guest_agent.0',
    'isa-serial': '/dev/ttyS0',
    'unix-listen': '',
    'vsock-listen': '',
}


class Transport(Protocol):
    """Where clients are; all of it is used on the loop."""

    #: What is wrong with it now, else ``''``.
    problem: str

    @property
    def is_idle(self) -> bool:
        """Whether each request has its answer."""

    def start(self) -> None:
        """Take clients from now on.

        :raises OSError: that cannot be.
        """

    def pause(self) -> None:
        """Take no more requests."""

    def stop(self) -> None:
        """Let go of all."""


def _log(error: OSError) -> None:
    LOG.critical('error on channel: %s', error)


def make(
    loop: loops.Loop,
    method: str,
    path: str,
    guest: guests.Guest,
    work: session.Work,
    *,
    retry: bool = False,
    failed: Callable[[OSError], None] = _log,
) -> Transport:
    """Return a transport.

    :param retry: whether a device is opened again when it fails; else ``failed`` is
        called.
    :raises ValueError: there is no such method, or the path is none for it.
    :raises OSError: it cannot be opened.
    """
    if method not in METHODS:
        raise ValueError(f'unsupported channel method/type: {method}')
    path = path or METHODS[method]
    if not path:
        raise ValueError('must specify a path for this channel')
    if method in ('unix-listen', 'vsock-listen'):
        from guestagent_qga.transports import listener

        is_unix = method == 'unix-listen'
        sock = listener.listen_unix(path) if is_unix else listener.listen_vsock(path)
        return listener.Listener(loop, sock, guest, work, path if is_unix else '')
    from guestagent_qga.transports import device

    return device.Device(
        loop,
        path,
        guest,
        work,
        serial=method == 'isa-serial',
        retry=retry,
        failed=failed,
    )
