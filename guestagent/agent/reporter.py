# SPDX-License-Identifier: Apache-2.0
"""Report the guest's state to the conductor (doc/wire.rst, section 7).

Extensions and the dispatcher hand in facts, events and outcomes from any thread; the
rest happens on the loop.  A report counts as sent when the broker has confirmed it
and did not return it; until then it is kept and sent again.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import guestagent
from guestagent import logs
from guestagent import loop as loops
from guestagent.agent import spool
from guestagent.bus import base, envelope, topics

LOG = logging.getLogger(__name__)

#: How many reports may be on their way unconfirmed.
WINDOW = 32
#: Seconds until a report is tried again that was returned or rejected: the first
#: wait, and the longest.
RETRY, RETRY_MAX = 1.0, 60.0


class Identity:
    """Who reports.

    :ivar generation: new with each agent process, as it cannot know what its
        predecessor has sent.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.generation = envelope.unique_id()
        self.started = time.time()
        try:
            with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
                self.boot_id = file.read().strip()
        except OSError:
            self.boot_id = ''


class Reporter:
    """Collects, orders and sends reports.

    :param summaries: returns what a heartbeat says of each extension.
    """

    def __init__(
        self,
        loop: loops.Loop,
        bus: base.Bus,
        who: Identity,
        *,
        interval: float,
        size: int,
        summaries: Callable[[], dict[str, Any]],
    ) -> None:
        self._loop = loop
        self._bus = bus
        self._who = who
        self._interval = interval
        self._summaries = summaries
        self._spool = spool.Spool(size)
        self._facts: dict[str, str] = {}
        self._facts_lock = threading.Lock()
        self._facts_sent = False
        self._on_way = 0
        self._wait = RETRY
        self._retry: loops.Timer | None = None
        self._beat: loops.Timer | None = None
        self._log_limit = logs.RateLimit(60)
        #: How many reports were confirmed, by kind, and how many were not, by reason.
        self.sent = dict.fromkeys(spool.KINDS, 0)
        self.unsent: dict[str, int] = {}

    def start(self) -> None:
        """Send the first heartbeat, and one each interval from then on."""
        self._heartbeat()

    def set_interval(self, seconds: float) -> None:
        """Send heartbeats so often from now on, and one now that says so."""
        if seconds != self._interval:
            self._interval = seconds
            if self._beat is not None:
                self._beat.cancel()
            self._heartbeat()

    def connected(self) -> None:
        """Send what waits; called when the bus has come (back)."""
        self._wait = RETRY
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._send()

    def goodbye(self) -> None:
        """Send the last heartbeat."""
        if self._beat is not None:
            self._beat.cancel()
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

    def report_all(self) -> None:
        """Send all facts, and a heartbeat, now; from any thread."""
        with self._facts_lock:
            facts = {name: json.loads(text) for name, text in self._facts.items()}
            self._loop.call_soon(self._add, spool.FACTS, {'full': True, 'facts': facts})
        self._loop.call_soon(
            lambda: self._add(spool.HEARTBEAT, self._heartbeat_data('running'))
        )

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

    def _add_facts(self, changed: dict[str, Any]) -> None:
        full = not self._facts_sent
        self._facts_sent = True
        if full:
            changed = {
                key: value for key, value in changed.items() if value is not None
            }
        self._add(spool.FACTS, {'full': full, 'facts': changed})

    def _add(
        self, kind: str, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        self._spool.add(kind, data, kept)
        self._send()

    def _heartbeat(self) -> None:
        """Send a heartbeat now and arrange for the next, moved a little."""
        # A fleet that was started together must not report together for ever.
        wait = self._interval * random.uniform(0.9, 1.0)
        self._beat = self._loop.call_later(wait, self._heartbeat)
        self._add(spool.HEARTBEAT, self._heartbeat_data('running'))

    def _heartbeat_data(self, status: str) -> dict[str, Any]:
        return {
            'status': status,
            'agent_version': guestagent.__version__,
            'interval': self._interval,
            'started': self._who.started,
            'dropped': self._spool.dropped,
            'extensions': self._summaries(),
        }

    def _send(self) -> None:
        """Send what waits, unless the bus is away or has just refused."""
        while self._bus.connected and self._retry is None and self._on_way < WINDOW:
            report = self._spool.take()
            if report is None:
                return
            self._send_one(report)

    def _send_one(self, report: spool.Report) -> None:
        who = self._who
        report.message_id = report.message_id or envelope.unique_id()
        payload = {
            'instance': who.instance,
            'kind': report.kind,
            'generation': who.generation,
            'sequence': report.sequence,
            'boot_id': who.boot_id,
            'sent': time.time(),
            'data': report.data,
        }
        body = envelope.notification(
            topics.publisher_id(who.instance),
            f'guestagent.{report.kind}',
            payload,
            report.message_id,
        )
        self._on_way += 1
        self._bus.report(body, lambda sent: self._sent(report, sent))

    def _sent(self, report: spool.Report, sent: base.Sent) -> None:
        self._on_way -= 1
        if sent is base.Sent.CONFIRMED:
            self.sent[report.kind] += 1
            if report.kept is not None:
                report.kept()
            self._wait = RETRY
            self._send()
            return
        self.unsent[sent.value] = self.unsent.get(sent.value, 0) + 1
        self._spool.give_back(report)
        if sent is base.Sent.LOST or self._retry is not None:
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
        self._retry = self._loop.call_later(
            self._wait * random.uniform(0.5, 1.0), self._try_again
        )
        self._wait = min(self._wait * 2, RETRY_MAX)

    def _try_again(self) -> None:
        self._retry = None
        self._send()
