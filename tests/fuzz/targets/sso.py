# SPDX-License-Identifier: Apache-2.0
"""Messages of D-Bus, and what the PAM module asks."""

from __future__ import annotations

import contextlib

from guestagent_sso import offer as sso_offer
from guestagent_sso import wire as dbus

from tests.fuzz import registry


@registry.target_of(
    lambda: [
        dbus.encode(
            dbus.Message(
                dbus.SIGNAL,
                *('/org/freedesktop/login1', 'org.freedesktop.login1.Manager', 'New'),
                signature='a{sv}a(so)b',
                body=({'k': dbus.Variant('as', ['v'])}, [('1', '/a')], True),
            )
        )
    ]
)
def dbus_message(data: bytes) -> None:
    """A message is as long as its beginning says, or malformed."""
    with contextlib.suppress(dbus.Malformed):
        found = dbus.decode(data)
        assert dbus.measure(data[: dbus.FIXED]) == len(data)
        assert len(found.body) == len(dbus.split(found.signature))


@registry.target(b'1\0' + b'x' * 43 + b'\0seat0\0alice\0', b'1\0\0seat0\0\0')
def sso_request(data: bytes) -> None:
    """Nobody gets credentials who has not the token, or takes them from who has."""
    offered = sso_offer.Offer('alice', 'hunter2', 'seat0', without_token=False)
    assert offered.answer(data) is None
    good = data.replace(b'x' * 43, offered.token.encode())
    answer = offered.answer(good)
    if answer is None:
        good = f'1\0{offered.token}\0seat0\0\0'.encode()
        answer = offered.answer(good)
    assert answer == b'1\0alice\0hunter2\0'
    assert offered.answer(good) is None
