# SPDX-License-Identifier: Apache-2.0
"""Which messages count as reports, and of whom; no I/O and no clock.

A report counts for the instance whose key sealed it, or whose socket of a hub it came
from.  Where there are no keys, it counts for whom it names: nothing proves that.  Who
reports too much is cut off for a while, and nobody else is.
"""

from __future__ import annotations

import collections
from collections.abc import Container
from typing import Any, NamedTuple

from guestagent.conductor import report as reports
from guestagent.seal import caller, keys, value

REFUSED, FLOOD = 'instance.report_refused', 'instance.flood'

#: How often an event says of an instance that one of these happened, in seconds.
TELL_INTERVAL = 3600.0
#: Of how many instances it is remembered when that was said.
_TOLD = 10000
#: After so many reports it is looked whose are forgotten.
_LOOK = 10000


class Settings(NamedTuple):
    """What bounds the reports of one instance.

    :ivar rate: how many in a second, in the long run; 0: as many as it likes.
    :ivar burst: how many at once.
    :ivar allow_plain: whether plain reports count though there are keys.
    """

    rate: float = 0.0
    burst: int = 1
    allow_plain: bool = False


DEFAULTS = Settings()


class Notice(NamedTuple):
    """An event of the conductor's own."""

    instance: str
    type: str
    data: dict[str, Any]


class Intake:
    """Reads messages; used by one thread.

    :ivar ring: opens what is sealed; ``None``: there are no keys.
    :ivar refused: how many reports did not count, by reason.
    :param revoked: the instances that were cut off; may change.
    """

    def __init__(
        self,
        ring: keys.MasterRing | None = None,
        settings: Settings = DEFAULTS,
        revoked: Container[str] = (),
    ) -> None:
        self.ring = ring
        self.refused = {'seal': 0, 'plain': 0, 'flood': 0, 'revoked': 0}
        self._revoked = revoked
        self._settings = settings
        # Of each instance, when it will have paid for what it has sent.
        self._paid: dict[str, float] = {}
        self._looked = 0
        self._told: collections.OrderedDict[tuple[str, str], float] = (
            collections.OrderedDict()
        )
        self._notices: list[Notice] = []

    def read(self, body: bytes, proven: bool, now: float) -> reports.Report:
        """Return the report in the body of a message.

        :param proven: whether it came from its instance's socket.
        :param now: UNIX seconds.
        :raises guestagent.conductor.report.Rejected: it is none, or does not count.
        """
        payload = reports.payload(body)
        sealed = isinstance(payload, dict) and 'sealed' in payload
        if sealed:
            payload = self._open(payload, now)
        elif self.ring is not None and not (proven or self._settings.allow_plain):
            raise self._refuse('plain', payload, 'it is not sealed', now)
        report = reports.parse(payload)
        if report.instance in self._revoked:
            raise self._refuse('revoked', payload, 'it was cut off', now)
        if self._settings.rate and self._is_flood(report.instance, now):
            raise self._refuse('flood', payload, 'its instance sends too many', now)
        return report._replace(sealed_at=payload['sent']) if sealed else report

    def notices(self) -> list[Notice]:
        """Return what is to be told, once."""
        if not self._notices:
            return []
        taken, self._notices = self._notices, []
        return taken

    def _open(self, payload: dict[str, Any], now: float) -> dict[str, Any]:
        instance = payload.get('instance')
        if self.ring is None:
            raise self._refuse('seal', None, 'there is no key to open it with', now)
        try:
            if not isinstance(instance, str):
                raise value.Broken('it names no instance')
            return caller.open_report(self.ring, instance, payload['sealed'], now)
        except value.Broken as error:
            raise self._refuse('seal', payload, str(error), now) from None

    def _refuse(
        self, reason: str, payload: Any, text: str, now: float
    ) -> reports.Rejected:
        """Count, and tell of it if that was not done lately."""
        self.refused[reason] += 1
        claimed = payload.get('instance') if isinstance(payload, dict) else None
        if not isinstance(claimed, str):
            return reports.Rejected(text)
        if reason == 'flood':
            self._tell(Notice(claimed, FLOOD, {'rate': self._settings.rate}), now)
        else:
            # Somebody may use its name; it is told with what is known of it.
            self._tell(Notice(claimed, REFUSED, {'reason': reason}), now)
        return reports.Rejected(f'in the name of {claimed!r:.80}: {text}')

    def _tell(self, notice: Notice, now: float) -> None:
        key = (notice.instance, notice.type)
        last = self._told.get(key)
        if last is not None and last <= now < last + TELL_INTERVAL:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > _TOLD:
            self._told.popitem(last=False)
        self._notices.append(notice)

    def _is_flood(self, instance: str, now: float) -> bool:
        """Whether an instance is over its rate; counts what is not."""
        rate, burst = self._settings.rate, self._settings.burst
        paid = self._paid.get(instance, now)
        if paid > now + (burst + 1) / rate:
            paid = now  # our clock was set back
        paid = max(paid, now) + 1 / rate
        # Half a report more, for what floats lose.
        if paid > now + (burst + 0.5) / rate:
            return True
        self._paid[instance] = paid
        self._looked += 1
        if self._looked >= _LOOK:
            self._looked = 0
            self._paid = {name: at for name, at in self._paid.items() if at > now}
        return False
