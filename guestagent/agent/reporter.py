# SPDX-License-Identifier: Apache-2.0
"""Report the guest's state to the conductor (doc/wire.rst, section 7).

Extensions and the dispatcher hand in facts, events and outcomes from any thread; the
rest happens on the loop.  A report counts as sent when the broker has confirmed it
and did not return it; until then it is kept and sent again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import (
    heartbeats,
    identity,
    machine,
    pace,
    spool,
    spoolfile,
    spooling,
)
from guestagent.bus import base, envelope, topics

if TYPE_CHECKING:
    from guestagent.agent.audit import log

LOG = logging.getLogger(__name__)

#: How many reports may be on their way unconfirmed.
WINDOW = 32
#: Seconds until a report is tried again that was returned or rejected: the first
#: wait, and the longest.
RETRY, RETRY_MAX = 1.0, 60.0
#: After so many seconds it is looked at what the extensions came to by their start.
SOON = 5.0

_BEAT, _FRESH, _PACE, _RETRY, _SOON = 'beat', 'fresh', 'pace', 'retry', 'soon'


@dataclasses.dataclass(frozen=True)
class Limits:
    """What bounds the reports of an agent.

    :ivar interval: seconds between two heartbeats.
    :ivar splay: over how many seconds a fleet spreads what it says anew after a
        connect; no more than one interval.
    :ivar rate: how many outcomes and events that waited are sent in a second.
    :ivar count: how many outcomes and events wait at most.
    :ivar size: how many bytes they may take.
    :ivar wanted: whether there is a conductor; without one nothing is reported.
    """

    interval: float
    splay: float = 0.0
    rate: float = 1000.0
    count: int = 10000
    size: int = 16 * 1024 * 1024
    wanted: bool = True


class Reporter:
    """Collects, orders and sends reports.

    :param summaries: returns what a heartbeat says of each extension.
    """

    def __init__(
        self,
        loop: loops.Loop,
        bus: base.Bus,
        who: identity.Identity,
        limits: Limits,
        summaries: Callable[[], dict[str, Any]],
    ) -> None:
        self._loop = loop
        self._bus = bus
        self._who = who
        self._limits = limits
        self._interval = limits.interval
        self._heartbeats = heartbeats.Heartbeats(who, summaries)
        self._spool = spool.Spool(limits.count, limits.size)
        self._keeper = spooling.Keeper(loop, self._spool, self._send)
        self._pace = pace.Pace(limits.rate)
        self._facts: dict[str, str] = {}
        self._facts_lock = threading.Lock()
        self._facts_sent = False
        # On which connection reports were sent; None: on none so far.
        self._sent_on: int | None = None
        self._on_way = 0
        self._wait = RETRY
        self._timers: dict[str, loops.Timer] = {}
        self._log_limit = logs.RateLimit(60)
        #: Makes of a payload what may leave.
        self.seal: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _unchanged
        #: The audit log whose head is in each heartbeat.
        self.audit: log.Log | None = None
        #: How many reports were confirmed, by kind, and how many were not, by reason.
        self.sent = dict.fromkeys(spool.KINDS, 0)
        self.unsent: dict[str, int] = {}

    def restore(self, path: str, disk: disks.Disk | None = None) -> None:
        """Keep in this file what waits, and take what waits there from before."""
        here = machine.read()
        before = self._keeper.start(spoolfile.SpoolFile(path, disk), self._owner(here))
        if before is not None and before['instance'] == self._who.instance:
            self._compare(before, here)

    def close(self) -> None:
        """Write what was not sent to the disk."""
        self._keeper.close()

    def start(self) -> None:
        """Send the first heartbeat, and one each interval from then on."""
        self._heartbeat()
        self._later(_SOON, SOON, self._heartbeat_if_new)

    def set_interval(self, seconds: float) -> None:
        """Send heartbeats so often from now on, and one now that says so."""
        if seconds != self._interval:
            self._interval = seconds
            self._heartbeat()

    def connected(self) -> None:
        """Send what waits; called when the bus has come (back)."""
        self._wait = RETRY
        self._cancel(_RETRY)
        self._pace.begin(self._spool.held, time.monotonic())
        self._send()

    def goodbye(self) -> None:
        """Send the last heartbeat."""
        self._cancel(_BEAT)
        self._cancel(_SOON)
        self._add(spool.HEARTBEAT, self._heartbeat_data('stopping'))

    @property
    def idle(self) -> bool:
        """Whether everything was sent and confirmed."""
        return not self._on_way and not len(self._spool)

    @property
    def waiting(self) -> int:
        """How many reports wait, or are on their way unconfirmed."""
        return len(self._spool) + self._on_way

    @property
    def dropped(self) -> int:
        """How many outcomes and events were lost for want of room."""
        return self._spool.dropped

    @property
    def unsaved(self) -> int:
        """How many of them wait in memory only, because of a disk that fails."""
        return self._keeper.unsaved

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        """Take the present values of facts and send those that changed."""
        changed: dict[str, Any] = {}
        with self._facts_lock:
            for key, value in facts.items():
                name = f'{extension}.{key}'
                text = json.dumps(value, sort_keys=True)
                if value is None:
                    if self._facts.pop(name, None) is not None:
                        changed[name] = None
                elif self._facts.get(name) != text:
                    self._facts[name] = text
                    changed[name] = value
            if changed:
                # In the lock, so that two threads' changes keep their order.
                self._loop.call_soon(self._add_facts, changed)

    def facts(self) -> dict[str, str]:
        """Return the present facts, each as JSON; from any thread."""
        with self._facts_lock:
            return dict(self._facts)

    def report_all(self) -> None:
        """Send all facts, and a heartbeat, now; from any thread."""
        with self._facts_lock:
            facts = {name: json.loads(text) for name, text in self._facts.items()}
            self._loop.call_soon(self._add_fresh, facts)

    def note_snapshot(self) -> None:
        """Begin anew: the guest goes on from a snapshot, or is a copy of another."""
        here = machine.read()
        LOG.warning('this guest goes on from a snapshot, or is a copy')
        self._keeper.own(self._owner(here))
        self._renew()
        self._tell_snapshot(machine.EVENT, False)

    def report_event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """Take an event."""
        self._loop.call_soon(
            self._add,
            spool.EVENT,
            {'type': f'{extension}.{name}', 'at': time.time(), 'data': dict(data)},
        )

    def report_outcome(
        self, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        """Take the outcome of a command that nobody waits for.

        :param data: of :func:`guestagent.agent.outcomes.describe`.
        :param kept: called on the loop when no crash of the guest can lose it any
            more.
        """
        self._loop.call_soon(self._add, spool.OUTCOME, data, kept)

    def _owner(self, here: machine.Machine) -> dict[str, str]:
        return {
            'instance': self._who.instance,
            'machine': here.uuid,
            'generation': here.generation,
        }

    def _compare(self, before: dict[str, str], here: machine.Machine) -> None:
        """Say so if what we have kept is of another machine, or of another life."""
        other = bool(here.uuid and before['machine']) and here.uuid != before['machine']
        if other or (here.generation and here.generation != before['generation']):
            LOG.warning(
                'the state folder is that of %s',
                'another machine' if other else 'this machine before a snapshot',
            )
            self._tell_snapshot('uuid' if other else machine.READ, other)

    def _tell_snapshot(self, noticed_by: str, copied: bool) -> None:
        self.report_event(
            'agent', 'snapshot', {'noticed_by': noticed_by, 'copied': copied}
        )

    def _renew(self) -> None:
        """Begin a generation; all that must be said anew follows, not at once."""
        self._who.renew()
        self._spool.begin()
        self._heartbeats.forget()
        self._facts_sent = True
        splay = min(self._limits.splay, self._interval)
        self._later(_FRESH, random.uniform(0, splay), self.report_all)

    def _add_facts(self, changed: dict[str, Any]) -> None:
        if _FRESH in self._timers:
            return  # all facts follow
        full = not self._facts_sent
        self._facts_sent = True
        if full:
            changed = {
                key: value for key, value in changed.items() if value is not None
            }
        self._add(spool.FACTS, {'full': full, 'facts': changed})

    def _add_fresh(self, facts: dict[str, Any]) -> None:
        self._cancel(_FRESH)
        self._facts_sent = True
        self._heartbeats.forget()
        if self._limits.wanted:
            self._spool.add(spool.FACTS, {'full': True, 'facts': facts})
        self._add(spool.HEARTBEAT, self._heartbeat_data('running'))

    def _add(
        self, kind: str, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        if not self._limits.wanted:
            if kept is not None:
                kept()
            return
        self._spool.add(kind, data, kept)
        self._send()
        self._keeper.look()

    def _heartbeat(self) -> None:
        """Send a heartbeat now and arrange for the next, moved a little."""
        # A fleet that was started together must not report together for ever.
        self._later(_BEAT, self._interval * random.uniform(0.9, 1.0), self._heartbeat)
        self._add(spool.HEARTBEAT, self._heartbeat_data('running'))

    def _heartbeat_if_new(self) -> None:
        if not self._heartbeats.is_told():
            self._heartbeat()

    def _heartbeat_data(self, status: str) -> dict[str, Any]:
        return self._heartbeats.make(
            status,
            self._interval,
            {'dropped': self._spool.dropped, 'unsaved': self._keeper.unsaved},
            None if self.audit is None else self.audit.synced,
        )

    def _send(self) -> None:
        """Send what waits, unless the bus is away or has just refused."""
        if not self._bus.connected or _RETRY in self._timers:
            return
        if self._sent_on not in (None, self._bus.connects):
            self._sent_on = None
            self._renew()
        while self._bus.connected and _RETRY not in self._timers:
            report = None
            if self._on_way < WINDOW:
                report = self._spool.take(self._sendable())
            if report is None:
                return
            self._send_one(report)

    def _sendable(self) -> tuple[str, ...]:
        """Return the kinds of reports that may be sent now."""
        if self._keeper.busy and self._spool.saved:
            return spool.FRESH  # the keeper calls when it is not
        wait = self._pace.wait(time.monotonic())
        if wait and self._spool.held:
            self._later(_PACE, wait, self._send)
        return spool.FRESH if wait else spool.KINDS

    def _send_one(self, report: spool.Report) -> None:
        try:
            data = json.loads(self._keeper.text(report))
        except errors.StorageError as error:
            LOG.error('a report is lost: %s', error)
            self._spool.drop(report)
            return
        if report.kind in spool.KEPT:
            self._pace.sent(time.monotonic())
        who = self._who
        payload = {
            'instance': who.instance,
            'kind': report.kind,
            **({'id': report.id} if report.kind in spool.KEPT else {}),
            'generation': who.generation,
            'sequence': report.sequence,
            'boot_id': who.boot_id,
            'sent': round(time.time(), 3),
            'data': data,
        }
        body = envelope.notification(
            topics.publisher_id(who.instance),
            f'guestagent.{report.kind}',
            self.seal(payload),
            report.id,
        )
        self._on_way += 1
        self._sent_on = self._bus.connects
        self._bus.report(body, lambda sent: self._sent(report, sent))

    def _sent(self, report: spool.Report, sent: base.Sent) -> None:
        self._on_way -= 1
        if sent is base.Sent.CONFIRMED:
            self.sent[report.kind] += 1
            if report.kind == spool.HEARTBEAT:
                self._heartbeats.confirmed(json.loads(report.text))
            self._spool.confirmed(report)
            self._keeper.look()
            self._wait = RETRY
            self._send()
            return
        self.unsent[sent.value] = self.unsent.get(sent.value, 0) + 1
        self._spool.give_back(report)
        if sent is base.Sent.LOST or _RETRY in self._timers:
            return  # connected() will send it again
        held = self._log_limit.allow(sent.value)
        if held is not None:
            LOG.warning(
                'a report was %s by the broker (%s); it is kept and sent again',
                sent.value,
                'is a conductor running on this bus?'
                if sent is base.Sent.RETURNED
                else 'the queue of reports is full',
            )
        self._later(_RETRY, self._wait * random.uniform(0.5, 1.0), self._send)
        self._wait = min(self._wait * 2, RETRY_MAX)

    # Timers, one of each name

    def _later(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel(name)

        def call() -> None:
            del self._timers[name]
            callback()

        self._timers[name] = self._loop.call_later(seconds, call)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _unchanged(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    return payload
