# SPDX-License-Identifier: Apache-2.0
"""The caller's side: seal commands and open their replies; no I/O and no clock."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from guestagent import errors
from guestagent.seal import contents, keys, value

#: Where a sealed command goes: an ordinary request.
NAMESPACE, METHOD, VERSION = 'sealed', 'invoke', '1.0'

#: For how many seconds a cast may wait for its guest, unless it says otherwise.
CAST_LIFETIME = 86400.0
#: Added to the lifetime of a call: by so many seconds clocks may differ.
SKEW = 300.0
#: The latest time that a guest's clock may show, in UNIX seconds: year 9999.
_CLOCK_MAX = 253402300800
#: Of how many guests it is remembered that their clocks differ.
_CLOCKS = 10000


class Clock(NamedTuple):
    """What a guest has told: seconds to add to our time, and its epoch."""

    offset: float
    epoch: str


_OURS = Clock(0.0, '')


class Sent:
    """A command that was sealed, as its reply needs it.

    :ivar value: what travels.
    :ivar command: what was sealed.
    :ivar sealed_at: UNIX seconds by our clock.
    """

    __slots__ = ('command', 'key', 'nonce', 'sealed_at', 'value')

    def __init__(
        self, command: contents.Command, key: keys.Key, sealed: bytes, now: float
    ) -> None:
        self.command = command
        self.key = key
        self.nonce = value.nonce_of(sealed)
        self.value = value.encode(sealed)
        self.sealed_at = now


class Caller:
    """Seals as one caller; for all threads.

    :param name: of the caller; ``None``: the only one that there are keys of.
    :raises guestagent.errors.ConfigError: there is no key of it.
    """

    def __init__(self, ring: keys.MasterRing, name: str | None = None) -> None:
        self.name = _choose(ring, name)
        self._ring = ring
        self._clocks: dict[str, Clock] = {}
        self._lock = threading.Lock()

    def use(self, ring: keys.MasterRing) -> None:
        """Seal with these keys from now on.

        :raises guestagent.errors.ConfigError: there is none of this caller.
        """
        _choose(ring, self.name)
        self._ring = ring

    def seal(
        self,
        instance: str,
        namespace: str | None,
        method: str,
        version: str,
        args: Mapping[str, Any],
        context: Mapping[str, Any],
        command_id: str,
        *,
        waits: bool,
        lifetime: float,
        now: float,
    ) -> Sent:
        """Return a command, sealed for an instance.

        :param lifetime: seconds after which the guest must not accept it any more.
        :param now: UNIX seconds.
        :raises guestagent.errors.ConfigError: no key of the caller is valid any more.
        :raises guestagent.errors.InvalidArgument: JSON cannot carry it.
        """
        key = self._ring.sealing(self.name, instance, now)
        clock = self._clocks.get(instance, _OURS)
        stamp = now + clock.offset
        lifetime += SKEW if waits else 0
        command = contents.Command(
            self.name,
            instance,
            namespace,
            method,
            version,
            dict(args),
            dict(context),
            command_id,
            int(stamp * 1000),
            int((stamp + lifetime) * 1000),
            waits,
            clock.epoch,
        )
        plain = contents.write_command(command)
        sealed = key.to_guest.seal(value.COMMAND, instance.encode(), plain)
        return Sent(command, key, sealed, now)

    def open(self, sent: Sent, answer: Any) -> tuple[Any, dict[str, Any] | None]:
        """Return the result in a reply, and the failure if it is one.

        :raises guestagent.errors.NotSealed: it is not the guest's reply to this
            command.
        """
        try:
            sealed = value.take_apart(answer)
            if sealed.key_id != sent.key.id:
                raise value.Broken('it is sealed with another key')
            plain = sent.key.from_guest.open(value.REPLY, sent.nonce, sealed)
            return contents.read_reply(plain, sent.command.id)
        except value.Broken as error:
            raise errors.NotSealed(
                f'what came as the answer of guest {sent.command.instance!r} is not '
                f'its own: {error}; nobody knows whether the command ran'
            ) from None

    def adjust(self, sent: Sent, failure: Mapping[str, Any]) -> bool:
        """Learn the guest's clock from a refusal.

        :param failure: of :meth:`open`.
        :returns: whether the command may be sealed anew now.
        """
        about = failure.get('kwargs')
        if not is_skew(failure) or not isinstance(about, dict):
            return False
        clock, epoch = about.get('clock'), about.get('epoch')
        if type(clock) not in (int, float) or not isinstance(epoch, str):
            return False
        if not 0 <= (clock or 0) <= _CLOCK_MAX:
            return False
        # A millisecond more, for what is lost where stamps are cut to whole ones.
        learned = Clock(float(clock or 0) - sent.sealed_at + 0.001, epoch)
        with self._lock:
            if len(self._clocks) >= _CLOCKS:
                self._clocks.clear()
            self._clocks[sent.command.instance] = learned
        return True


def _choose(ring: keys.MasterRing, name: str | None) -> str:
    if not name and len(ring.names) > 1:
        raise errors.ConfigError(
            f'there are keys of several callers: choose one of {", ".join(ring.names)}'
        )
    if name and name not in ring.names:
        raise errors.ConfigError(
            f'there is no key of caller {name!r}; there are keys of: '
            f'{", ".join(ring.names)}'
        )
    return name or ring.names[0]


def is_skew(failure: Mapping[str, Any]) -> bool:
    """Whether a failure is the refusal of a command for its stamp."""
    return (
        failure.get('module') == errors.ClockSkew.wire_module
        and failure.get('class') == errors.ClockSkew.__name__
    )


def ask(ring: keys.MasterRing, instance: str, now: float) -> dict[str, str]:
    """Return the arguments of a request for all reports of a guest.

    It is sealed with the guest's key for reports, which can ask for nothing else.

    :param now: UNIX seconds.
    :raises guestagent.errors.ConfigError: no key is valid any more.
    """
    key = ring.sealing(None, instance, now)
    command = contents.Command(
        key.line.name,
        instance,
        'agent',
        'report',
        '1.0',
        {},
        {},
        uuid.uuid4().hex,
        int(now * 1000),
        int(now * 1000),
        False,
        '',
    )
    plain = contents.write_command(command)
    sealed = key.to_guest.seal(value.COMMAND, instance.encode(), plain)
    return {'value': value.encode(sealed)}


def open_report(
    ring: keys.MasterRing, instance: str, text: Any, now: float
) -> dict[str, Any]:
    """Return the payload of a report that an instance has sealed.

    :raises guestagent.seal.value.Broken: it has not.
    """
    sealed = value.take_apart(text)
    try:
        key = ring.find(sealed.key_id, instance, now)
    except errors.InvalidArgument as error:
        raise value.Broken(str(error)) from None
    if key is None:
        raise value.Broken('it is sealed with no valid key of this instance')
    plain = key.from_guest.open(value.REPORT, instance.encode(), sealed)
    payload = contents.read(plain)
    if payload.get('instance') != instance:
        raise value.Broken('inside, another instance is named')
    return payload
