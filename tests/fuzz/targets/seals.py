# SPDX-License-Identifier: Apache-2.0
"""Sealed values and what stands in them, files of keys, the window of replays."""

from __future__ import annotations

import contextlib

from guestagent import errors
from guestagent.bus import envelope
from guestagent.seal import caller, contents, guest, keys, value, window
from tests.fuzz import registry

_NOW = 1_800_000_000_000
_LIMITS = window.Limits(86_400_000, 60_000)

# A key that is always the same, so that what is found can be found again.
_MASTER = keys.Line(keys.COMMANDS, 'nova', True, bytes(range(32)))
_LINES = [_MASTER.derive('vm-1'), _MASTER._replace(use=keys.REPORTS).derive('vm-1')]
_RING = keys.GuestRing(_LINES)
_KEY = _RING._keys[0]
_PLAIN = contents.write_command(
    contents.Command(
        *('nova', 'vm-1', 'exec', 'run', '1.0', {'argv': ['id']}, {}, 'c-1'),
        *(_NOW, _NOW + 60_000, True, ''),
    )
)


def _seal(purpose: bytes, bound: bytes, plain: bytes) -> str:
    return value.encode(_KEY.to_guest.seal(purpose, bound, plain))


#: What was sealed here: it may open, and nothing else.
_GOOD = _seal(value.COMMAND, b'vm-1', _PLAIN).encode()


@registry.target(_GOOD, _GOOD[:40], b'AQ==' + _GOOD)
def sealed_value(data: bytes) -> None:
    """Nothing opens but what was sealed."""
    made = guest.Guest('vm-1', _RING, _LIMITS)
    with contextlib.suppress(guest.Unanswered):
        opened = made.open(data.decode('latin-1'), _NOW)
        assert opened.command == contents.read_command(_PLAIN)
    with contextlib.suppress(value.Broken):
        caller.open_report(
            keys.MasterRing([_MASTER], keys.COMMANDS), 'vm-1', data.decode('latin-1'), 1
        )
        raise AssertionError('that was no report')


@registry.target(_PLAIN, _PLAIN.replace(b'nova', b'\\ud800'), b'{}', b'[1]')
def sealed_command(data: bytes) -> None:
    """Whatever a caller has sealed, it is a command, or gets no answer."""
    made = guest.Guest('vm-1', _RING, _LIMITS)
    try:
        opened = made.open(_seal(value.COMMAND, b'vm-1', data), _NOW)
    except guest.Unanswered:
        assert not len(made.window)
        return
    command = opened.command
    assert (command.caller, command.instance) == ('nova', 'vm-1')
    if opened.refusal is None:
        again = window.Window(_LIMITS)
        for record in made.window.records():
            again.replay(record)
        assert again.judge(opened.seal, _NOW) is window.Verdict.REPEATED
    opened.reply([command.args, command.context], None, 10_000)
    opened.reply(None, opened.refusal or errors.Forbidden(str(command.method)), 10_000)


def _replies() -> list[bytes]:
    skew = envelope.describe(errors.ClockSkew('x', 1.5, 'epoch'))
    return [
        contents.write_result('c-1', {'a': 1}),
        contents.write_failure('c-1', skew),
        contents.write_failure('c-1', envelope.describe(ValueError('x'))),
    ]


@registry.target_of(_replies)
def sealed_reply(data: bytes) -> None:
    """Whatever a guest has sealed as an answer, its callers can go on."""
    made = caller.Caller(keys.MasterRing([_MASTER], keys.COMMANDS))

    def send() -> caller.Sent:
        return made.seal(
            *('vm-1', 'exec', 'run', '1.0', {}, {}, 'c-1'),
            waits=True,
            lifetime=60.0,
            now=_NOW / 1000,
        )

    sent = send()
    answer = value.encode(_KEY.from_guest.seal(value.REPLY, sent.nonce, data))
    with contextlib.suppress(errors.NotSealed):
        _, failure = made.open(sent, answer)
        if failure is not None and made.adjust(sent, failure):
            again = send().command
            assert 0 <= again.stamp <= again.expiry < 2**53


@registry.target_of(
    lambda: [f'# x\n{_LINES[0]}\n'.encode(), str(_LINES[0].ending(1)).encode()]
)
def key_file(data: bytes) -> None:
    """A file of keys is keys, or an error that shows none."""
    text = data.decode('latin-1')
    try:
        found = keys.parse(text, 'file')
    except errors.ConfigError as error:
        said = str(error)
        assert not [word for word in text.split() if len(word) > 20 and word in said]
        return
    assert [one for line in found for one in keys.parse(str(line), '')] == found


_ENTRY = window.Window.record(window.Seal('commands nova', True, bytes(24), 1, 2))


@registry.target(_ENTRY, b'Eepoch', b'F' + bytes(17) + b'x', b'D' + bytes(17))
def replay_record(data: bytes) -> None:
    """A record of the replay window is taken, or is a ValueError; it stays in order."""
    made = window.Window(_LIMITS)
    with contextlib.suppress(ValueError):
        made.replay(data)
    made.start(_NOW, 1000)
    for record in made.records():
        window.Window(_LIMITS).replay(record)
