# SPDX-License-Identifier: Apache-2.0
"""The rules of single sign-on: who gets credentials, and D-Bus' messages as bytes."""

import hypothesis
import pytest
from guestagent_sso import bus, offer, wire
from hypothesis import strategies as st

from guestagent import errors

PASSWORD = 'hunter2 of alice'


def ask(offered, token=None, seat='seat0', user='', version='1'):
    token = offered.token if token is None else token
    return f'{version}\0{token}\0{seat}\0{user}\0'.encode()


@pytest.fixture
def offered():
    return offer.Offer('alice@example.org', PASSWORD, 'seat0')


def test_the_first_good_request_gets_it_and_no_other(offered):
    assert (
        offered.answer(ask(offered)) == f'1\0alice@example.org\0{PASSWORD}\0'.encode()
    )
    assert offered.answer(ask(offered)) is None


@pytest.mark.parametrize('user', ['alice', 'alice@example.org'])
def test_the_user_may_be_named(offered, user):
    assert offered.answer(ask(offered, user=user)) is not None


@pytest.mark.parametrize(
    'request_of',
    [
        lambda offered: b'',
        lambda offered: b'\0' * 5,
        lambda offered: ask(offered, token=''),
        lambda offered: ask(offered, token='', user='alice'),
        lambda offered: ask(offered, token=offered.token[:-1]),
        lambda offered: ask(offered, token=offered.token + 'x'),
        lambda offered: ask(offered, seat='seat1'),
        lambda offered: ask(offered, seat=''),
        lambda offered: ask(offered, user='bob'),
        lambda offered: ask(offered, user='alice@example.com'),
        lambda offered: ask(offered, version='2'),
        lambda offered: ask(offered)[:-1],
        lambda offered: ask(offered) + b'x',
        lambda offered: ask(offered) + b'\0',
        lambda offered: ask(offered, user='x' * 600),
    ],
)
def test_another_request_gets_nothing_and_takes_nothing_away(offered, request_of):
    assert offered.answer(request_of(offered)) is None
    assert offered.answer(ask(offered)) is not None


def test_each_offer_has_a_token_of_its_own_that_the_module_takes():
    tokens = {offer.Offer('a', 'hunter2', 'seat0').token for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {43}


def test_what_is_forgotten_is_overwritten(offered):
    password = offered._password
    offered.forget()
    assert password == bytes(len(PASSWORD))
    assert offered.answer(ask(offered)) is None
    answer = bytearray(b'hunter2')
    offer.wipe(answer)
    assert answer == bytes(7)


@pytest.mark.parametrize(
    ('user', 'password', 'what'),
    [
        ('', 'hunter2', 'user'),
        ('x' * 257, 'hunter2', 'user'),
        ('a\0b', 'hunter2', 'user'),
        ('alice', '', 'password'),
        ('alice', 'hunter2\n', 'password'),
        ('alice', 'hunter2' * 74, 'password'),
    ],
)
def test_what_cannot_be_handed_over_is_refused(user, password, what):
    with pytest.raises(errors.InvalidArgument) as raised:
        offer.Offer(user, password, 'seat0')
    assert str(raised.value).startswith(f'{what}: it must have ')
    assert 'hunter2' not in str(raised.value)


def test_the_longest_credentials_fit_into_an_answer():
    offered = offer.Offer('ä' * 128, '€' * 170, 'seat0')
    assert len(offered.answer(ask(offered))) <= offer.ANSWER_MAX
    request = ask(offered, user='ä' * 128)
    assert len(request) <= offer.REQUEST_MAX


def test_a_message_of_the_specification():
    """Hello, byte by byte, as any library writes it."""
    message = wire.Message(
        wire.CALL,
        '/org/freedesktop/DBus',
        'org.freedesktop.DBus',
        'Hello',
        'org.freedesktop.DBus',
        serial=1,
    )
    data = wire.encode(message)
    assert data == (
        b'l\1\0\1\0\0\0\0\1\0\0\0m\0\0\0'
        b'\1\1o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0'
        b'\2\1s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0'
        b'\3\1s\0\5\0\0\0Hello\0\0\0'
        b'\6\1s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0'
    )
    assert wire.measure(data[: wire.FIXED]) == len(data)
    assert wire.decode(data) == message


def test_values_of_all_types_come_back():
    signature = 'ybnqiuxtdsoga(ia{sv})av'
    body = (
        *(1, True, -2, 3, -4, 5, -6, 7, 0.5, 'é', '/a', 'as'),
        [(1, {'k': wire.Variant('as', ['x', 'y'])})],
        [wire.Variant('v', wire.Variant('u', 9))],
    )
    data = wire.encode(wire.Message(wire.SIGNAL, signature=signature, body=body))
    found = wire.decode(data).body
    assert found == (*body[:-2], [(1, {'k': ['x', 'y']})], [9])


@pytest.mark.parametrize(
    'signature', ['a', '(', '()', '(i', '{sv', 'a{s}', 'a{svv}', 'z', 'i)', 'a' * 99]
)
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(wire.Malformed):
        wire.split(signature)


GOOD = wire.encode(
    wire.Message(
        wire.SIGNAL,
        '/a',
        'b.c',
        'D',
        '',
        'a{sv}as',
        ({'k': wire.Variant('s', 'v')}, ['x']),
    )
)


@hypothesis.given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, 9))
def test_changed_bytes_are_a_message_or_malformed(at, byte, cut):
    data = GOOD[:at] + bytes((byte,)) + GOOD[at + 1 : len(GOOD) - cut]
    try:
        found = wire.decode(data)
    except wire.Malformed:
        return
    assert isinstance(found.body, tuple)


def test_a_message_that_is_too_long_is_refused():
    fixed = b'l\4\0\1' + (2**20).to_bytes(4, 'little') + bytes(8)
    with pytest.raises(wire.Malformed, match='bytes'):
        wire.measure(fixed)


@pytest.mark.parametrize(
    'address', ['', 'tcp:host=localhost', 'unix:', 'unix:path=/no%zz', 'unix:path=/no']
)
def test_an_address_that_leads_nowhere(address):
    with pytest.raises(bus.BusError):
        bus.Connection(address)
