# SPDX-License-Identifier: Apache-2.0
"""The guest's side: open commands, seal replies and reports; no I/O and no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guestagent import errors
from guestagent.bus import envelope
from guestagent.seal import contents, keys, value, window

#: All that who asks for reports may call.
ASKS = ('agent', 'report')

#: Why a value gets no answer, besides the verdicts of the window.
SHAPE, KEY, FORGED, INSTANCE = 'shape', 'key', 'forged', 'instance'


class Unanswered(Exception):
    """A value that gets no answer.

    :ivar reason: one word.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Opened:
    """A command that was sealed with a key of this guest.

    :ivar seal: what the window has looked at.
    :ivar refusal: why it must not run; ``None``: it may.
    """

    __slots__ = ('_key', 'command', 'refusal', 'seal')

    def __init__(
        self, command: contents.Command, seal: window.Seal, key: keys.Key
    ) -> None:
        self.command = command
        self.seal = seal
        self.refusal: errors.ClockSkew | None = None
        self._key = key

    def reply(self, result: Any, error: BaseException | None, size_max: int) -> str:
        """Return the sealed answer to this command, and to no other.

        :param size_max: of the result, in bytes of JSON.
        """
        if error is None:
            try:
                plain = self._write_result(result, size_max)
            except errors.GuestError as caught:
                error = caught
        if error is not None:
            about = envelope.describe(error)
            plain = contents.write_failure(self.command.id, about)
        sealed = self._key.from_guest.seal(value.REPLY, self.seal.nonce, plain)
        return value.encode(sealed)

    def _write_result(self, result: Any, size_max: int) -> bytes:
        try:
            plain = contents.write_result(self.command.id, result)
        except (TypeError, ValueError, RecursionError) as error:
            raise errors.BadResult(
                f'the result cannot be sent as JSON: {error}'
            ) from None
        if len(plain) > size_max:
            raise errors.ResultTooLarge(
                f'the result takes {len(plain)} bytes; [dispatcher] max_result_size '
                f'allows {size_max}'
            )
        return plain


class Guest:
    """Opens what comes to one guest.

    :ivar ring: its keys; another one may be put in its place.
    """

    def __init__(
        self, instance: str, ring: keys.GuestRing, limits: window.Limits
    ) -> None:
        self._instance = instance
        self._bound = instance.encode()
        self.ring = ring
        self.window = window.Window(limits)

    def open(self, text: Any, now: int) -> Opened:
        """Return the command in a sealed value.

        :param now: milliseconds since 1970.
        :raises Unanswered: it is not for this guest, or not for now.
        """
        try:
            sealed = value.take_apart(text)
        except value.Broken as error:
            raise Unanswered(SHAPE, str(error)) from None
        key = self.ring.find(sealed.key_id, now / 1000)
        if key is None:
            raise Unanswered(KEY, 'it is sealed with no key that is valid here')
        try:
            plain = key.to_guest.open(value.COMMAND, self._bound, sealed)
        except value.Broken:
            raise Unanswered(FORGED, 'it does not open with the key it names') from None
        try:
            command = contents.read_command(plain)
        except value.Broken as error:
            raise Unanswered(SHAPE, f'inside, {error}') from None
        self._check(command, key.line)
        return self._judge(command, sealed.nonce, key, now)

    def report(self, payload: Mapping[str, Any], now: float) -> Mapping[str, Any]:
        """Return the payload of a report, sealed if there is a key for reports.

        :param now: UNIX seconds.
        """
        key = self.ring.reporting(now)
        if key is None:
            return payload
        plain = contents.write(payload)
        sealed = key.from_guest.seal(value.REPORT, self._bound, plain)
        return {'instance': self._instance, 'sealed': value.encode(sealed)}

    def _check(self, command: contents.Command, line: keys.Line) -> None:
        if command.instance != self._instance:
            raise Unanswered(INSTANCE, f'it is for instance {command.instance!r:.50}')
        if command.caller != line.name:
            raise Unanswered(
                KEY, f'it names {command.caller!r:.50}, its key {line.name!r}'
            )
        asked = (command.namespace, command.method)
        if line.use == keys.REPORTS and asked != ASKS:
            raise Unanswered(KEY, 'a key for reports commands nothing')

    def _judge(
        self, command: contents.Command, nonce: bytes, key: keys.Key, now: int
    ) -> Opened:
        seal = window.Seal(
            # A conductor and a caller of one name are two.
            f'{key.line.use} {command.caller}',
            command.waits,
            nonce,
            command.stamp,
            command.expiry,
            command.epoch,
            # Who asks for reports hears of no refusal, and can do no harm.
            timeless=key.line.use == keys.REPORTS,
        )
        verdict = self.window.judge(seal, now)
        opened = Opened(command, seal, key)
        if verdict is window.Verdict.SKEWED:
            opened.refusal = errors.ClockSkew(
                'the command was sealed at a time that does not fit the clock of the '
                'guest',
                self.window.clock(seal.caller, now) / 1000,
                self.window.epoch,
            )
        elif verdict is not window.Verdict.FRESH:
            raise Unanswered(verdict.value, f'it is {verdict.value}')
        return opened
