# SPDX-License-Identifier: Apache-2.0
"""Casts to programs of a control plane: kept until the bus has them.

What an extension casts is kept on the disk, in order, until the broker has confirmed
it and did not return it; it is sent again as often as needed.  Of what only tells the
present (``latest``) the newest waits, in memory.  Made when the first is cast, or was
left by a process before.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import random
from typing import Any, NamedTuple

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import spool, spoolfile, spooling
from guestagent.bus import base, envelope

LOG = logging.getLogger(__name__)

#: How many may be on their way unconfirmed.
WINDOW = 32
#: Seconds between two.  Who takes casts may do so side by side: what follows at once
#: may be done first, and be undone by what was before it.
SPACING = 0.25
#: Seconds until one is tried again that was returned or rejected: first, and at most.
RETRY, RETRY_MAX = 1.0, 15.0


class Cast(NamedTuple):
    """One cast (doc/wire.rst, section 2).

    :ivar latest: of these only the newest counts.
    """

    topic: str
    method: str
    version: str
    args: dict[str, Any]
    context: dict[str, Any]
    latest: bool


class Caster:
    """Keeps and sends casts; used on the loop.

    :param instance: whose they are; what another one has left is not sent.
    :param count: how many wait at most; beyond that the oldest go.
    :param size: how many bytes of JSON they may take.
    """

    def __init__(
        self,
        loop: loops.Loop,
        bus: base.Bus,
        instance: str,
        path: str,
        count: int,
        size: int,
        disk: disks.Disk | None = None,
    ) -> None:
        self._loop = loop
        self._bus = bus
        self._spool = spool.Spool(count, size)
        self._keeper = spooling.Keeper(loop, self._spool, self._send)
        self._keeper.start(spoolfile.SpoolFile(path, disk), {'instance': instance})
        self._on_way = 0
        self._wait = RETRY
        self._timer: loops.Timer | None = None
        self._log_limit = logs.RateLimit(60)

    @property
    def idle(self) -> bool:
        """Whether everything was sent and confirmed."""
        return not self._on_way and not len(self._spool)

    def cast(self, what: Cast) -> None:
        """Take one, and send it as soon as the bus has it."""
        kind = spool.HEARTBEAT if what.latest else spool.EVENT
        self._spool.add(kind, what._asdict())
        self._send()
        self._keeper.look()

    def connected(self) -> None:
        """Send what waits; called when the bus has come (back)."""
        self._wait = RETRY
        self._cancel()
        self._send()

    def close(self) -> None:
        """Write what was not sent to the disk."""
        self._cancel()
        self._keeper.close()

    def _send(self) -> None:
        while self._bus.connected and self._timer is None and self._on_way < WINDOW:
            # While the file is being written, what stands in it cannot be read.
            blocked = self._keeper.busy and bool(self._spool.saved)
            report = self._spool.take(spool.FRESH if blocked else spool.KINDS)
            if report is None:
                return
            self._later(SPACING)
            self._send_one(report)

    def _send_one(self, report: spool.Report) -> None:
        try:
            cast = Cast(**json.loads(self._keeper.text(report)))
        except errors.StorageError as error:
            LOG.error('a cast is lost: %s', error)
            self._spool.drop(report)
            return
        body = envelope.cast(
            cast.method, cast.version, cast.args, cast.context, report.id
        )
        self._on_way += 1
        self._bus.cast(cast.topic, body, functools.partial(self._sent, report, cast))

    def _sent(self, report: spool.Report, cast: Cast, sent: base.Sent) -> None:
        self._on_way -= 1
        if sent is base.Sent.CONFIRMED:
            self._spool.confirmed(report)
            self._keeper.look()
            self._wait = RETRY
            return
        self._spool.give_back(report)
        if sent is base.Sent.LOST:
            return  # connected() will send it again
        if self._log_limit.allow(cast.topic) is not None:
            LOG.warning(
                'a cast to %s was %s by the broker; it is kept and sent again',
                cast.topic,
                sent.value,
            )
        self._later(self._wait * random.uniform(0.5, 1.0))
        self._wait = min(self._wait * 2, RETRY_MAX)

    def _later(self, seconds: float) -> None:
        """Send nothing before then."""
        self._cancel()
        self._timer = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._send()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Casts:
    """Makes the caster when it is wanted; :meth:`cast` from any thread, else the loop.

    :param conf: with the section ``[spool]`` and ``state_dir``.
    """

    def __init__(
        self,
        conf: Any,
        loop: loops.Loop,
        bus: base.Bus,
        instance: str,
        disk: disks.Disk | None = None,
    ) -> None:
        self._conf = conf
        self._disk = disk or disks.Disk()
        self._loop = loop
        self._bus = bus
        self._instance = instance
        self._caster: Caster | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return self._caster is None or self._caster.idle

    def cast(self, what: Cast) -> None:
        """Take one; from any thread."""
        # Or the loop would stumble over what cannot be sent.
        json.dumps(what)
        self._loop.call_soon(self._cast, what)

    def restore(self) -> None:
        """Take up what a process before has left."""
        if self._disk.exists(self._path):
            self._make()

    def connected(self) -> None:
        """Send what waits."""
        if self._caster is not None:
            self._caster.connected()

    def close(self) -> None:
        """Keep what was not sent."""
        if self._caster is not None:
            self._caster.close()

    def _cast(self, what: Cast) -> None:
        self._make().cast(what)

    @property
    def _path(self) -> str:
        return os.path.join(self._conf.state_dir, 'casts')

    def _make(self) -> Caster:
        if self._caster is None:
            limits = self._conf.spool
            self._caster = Caster(
                self._loop,
                self._bus,
                self._instance,
                self._path,
                limits.max_reports,
                limits.max_size,
                self._disk,
            )
        return self._caster
