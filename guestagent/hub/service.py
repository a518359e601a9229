# SPDX-License-Identifier: Apache-2.0
"""The hub as a whole: its sockets, its two sides, and the router between them.

Start: the folder is locked; the guests that were known, and those of ``--guest``, get
their sockets; programs.sock comes last, so that whoever finds it finds a hub.

Stop: each peer is told, and all is forgotten: the hub keeps nothing on disk.  What
nobody had acknowledged has not been confirmed to anybody either, and its sender sends
it again.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import resource
import signal
import socket
from collections.abc import Callable, Sequence

from guestagent import errors, logs, systemd
from guestagent import loop as loops
from guestagent.bus import topics
from guestagent.hub import connection, guests, programs, queues, router, sockets

LOG = logging.getLogger(__name__)

#: How many connections are accepted before the others have their turn.
ACCEPT_MAX = 64

#: How many guests may have a socket.
GUESTS_MAX = 10000

EXPIRE_SECONDS = 1.0

#: How long to accept nothing when no more files can be open.
FULL_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line says.

    :ivar body_max: the largest message, in bytes.
    """

    folder: pathlib.Path
    guests: Sequence[str] = ()
    group: int | None = None
    guest_group: int | None = None
    report_topic: str = topics.REPORT_TOPIC
    body_max: int = 16 * 1024 * 1024
    limits: queues.Limits = dataclasses.field(default_factory=queues.Limits)


class Service:
    """A hub.

    :raises guestagent.errors.ConfigError: the folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        for instance in settings.guests:
            topics.check_instance_id(instance)
        self._folder = sockets.Folder(
            settings.folder, settings.group, settings.guest_group
        )
        self._loop = loops.Loop()
        self._writer = connection.Writer(self._loop)
        self._routes = router.Router(settings.limits)
        self._programs = programs.Programs(self._routes, settings.body_max)
        self._guests = guests.Guests(
            self._routes, self._open_guest, settings.report_topic, settings.body_max
        )
        self._listeners: list[socket.socket] = []
        self._limit = logs.RateLimit()
        self._notifier = systemd.Notifier()

    def run(self) -> None:
        """Serve until a signal says stop.

        :raises OSError: a socket cannot be made.
        """
        _raise_file_limit()
        self._loop.catch_signals((signal.SIGTERM, signal.SIGINT), self._signal)
        for instance in {*self._folder.known_guests(), *self._settings.guests}:
            self._open_guest(instance)
            self._guests.add(instance)
        self._listen(
            self._folder.listen_programs(),
            'program',
            self._settings.group,
            self._programs.accept,
        )
        self._expire()
        LOG.info(
            'hub in %s: %d guests have a socket',
            self._settings.folder,
            len(self._guests),
        )
        self._notifier.ready()
        self._loop.run()
        self._stop()

    def _signal(self, number: int) -> None:
        LOG.info('%s: stopping', signal.Signals(number).name)
        self._loop.stop()

    def _stop(self) -> None:
        self._notifier.stopping()
        for listener in self._listeners:
            self._loop.unwatch(listener.fileno())
            listener.close()
        self._guests.close()
        self._programs.close()
        self._folder.close()
        self._loop.close()
        LOG.info('stopped')

    def _open_guest(self, instance: str) -> None:
        if len(self._guests) >= GUESTS_MAX:
            raise OSError(f'{GUESTS_MAX} guests have a socket already')
        self._listen(
            self._folder.listen_guest(instance),
            f'guest {instance}',
            self._settings.guest_group,
            lambda conn: self._guests.add(instance).accept(conn),
        )

    def _listen(
        self,
        listener: socket.socket,
        name: str,
        group: int | None,
        accept: Callable[[connection.Connection], None],
    ) -> None:
        self._listeners.append(listener)
        ready = functools.partial(self._accept, listener, name, group, accept)
        self._loop.watch(listener.fileno(), loops.READ, ready)

    def _accept(
        self,
        listener: socket.socket,
        name: str,
        group: int | None,
        accept: Callable[[connection.Connection], None],
        _events: int,
    ) -> None:
        for _ in range(ACCEPT_MAX):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._full(listener, name, group, accept, error)
                return
            pid, uid, groups = sockets.peer(sock)
            if not sockets.may_connect(uid, groups, group):
                sock.close()
                held = self._limit.allow(f'user {uid}')
                if held is not None:
                    LOG.warning(
                        '%s: process %d of user %d was refused (%d more since the last '
                        'line like this)',
                        name,
                        pid,
                        uid,
                        held,
                    )
                continue
            sock.setblocking(False)
            accept(
                connection.Connection(
                    self._loop,
                    self._writer,
                    sock,
                    f'{name}, process {pid}',
                    self._settings.body_max,
                )
            )

    def _full(
        self,
        listener: socket.socket,
        name: str,
        group: int | None,
        accept: Callable[[connection.Connection], None],
        error: OSError,
    ) -> None:
        """Accept nothing for a while: there are no more files to be had."""
        LOG.warning('%s: cannot accept: %s', name, error.strerror)
        self._loop.unwatch(listener.fileno())
        ready = functools.partial(self._accept, listener, name, group, accept)
        self._loop.call_later(
            FULL_SECONDS, lambda: self._loop.watch(listener.fileno(), loops.READ, ready)
        )

    def _expire(self) -> None:
        self._loop.call_later(EXPIRE_SECONDS, self._expire)
        count = self._routes.expire() + self._guests.expire()
        if count:
            LOG.info('%d messages waited too long and were dropped', count)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def check_guests(instances: Sequence[str]) -> None:
    """Check instance ids.

    :raises guestagent.errors.ConfigError: one of them is none.
    """
    for instance in instances:
        try:
            topics.check_instance_id(instance)
        except errors.InvalidArgument as error:
            raise errors.ConfigError(f'--guest: {error}') from None
