# SPDX-License-Identifier: Apache-2.0
"""The socket on which the PAM module asks for what is offered."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator

from guestagent import errors
from guestagent_sso import offer as offers

LOG = logging.getLogger(__name__)

NAME = 'credentials'
#: Whose process the module runs in: whoever logs users in is root.
ROOT = 0
#: Seconds that one who has connected may take to ask.
ASK_SECONDS = 2.0
_WAIT_SECONDS = 0.2
_CREDENTIALS = struct.Struct('iII')


class Listener:
    """The socket, in a folder of root's own; there while something is offered.

    :param uid: who may ask.
    :raises guestagent.errors.GuestError: it cannot be made.
    """

    def __init__(self, folder: str, uid: int = ROOT) -> None:
        self._uid = uid
        self._path = os.path.join(folder, NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            _prepare(folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            self._socket.bind(self._path)
            os.chmod(self._path, 0o600)
            self._socket.listen(4)
        except OSError as error:
            self._socket.close()
            raise errors.GuestError(f'{self._path}: {error.strerror}') from None

    def close(self) -> None:
        """Remove the socket."""
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def serve(
        self, offer: offers.Offer, seconds: float, stop: Callable[[], bool]
    ) -> bool:
        """Answer who asks, until one has got it; return whether one has, in time.

        :param stop: whether to give up.
        """
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not stop() and (left := until - time.monotonic()) > 0:
            if poll.poll(min(left, _WAIT_SECONDS) * 1000):
                with self._accept() as client:
                    client.settimeout(min(ASK_SECONDS, left))
                    if self._answer(client, offer, until):
                        return True
        return False

    @contextlib.contextmanager
    def _accept(self) -> Iterator[socket.socket]:
        client, _address = self._socket.accept()
        with client:
            yield client

    def _answer(self, client: socket.socket, offer: offers.Offer, until: float) -> bool:
        """Answer one; return whether that one got the credentials."""
        size = _CREDENTIALS.size
        data = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, uid, _gid = _CREDENTIALS.unpack(data)
        if uid != self._uid:
            LOG.warning('user %d (process %d) asked for credentials in vain', uid, pid)
            return False
        try:
            # One more than allowed, so that what is longer is seen.
            request = client.recv(offers.REQUEST_MAX + 1)
            answer = offer.answer(request) if time.monotonic() < until else None
            if answer is None:
                LOG.warning('process %d asked for credentials in vain', pid)
                return False
            try:
                client.sendall(answer)
            finally:
                offers.wipe(answer)
        except OSError as error:
            LOG.warning('process %d did not get the credentials: %s', pid, error)
            return False
        return True


def _prepare(folder: str) -> None:
    """Have a folder that nobody else can enter.

    :raises OSError: there is something else of this name.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise FileExistsError(0, 'it is not a folder of the right owner')
    os.chmod(folder, 0o700)
