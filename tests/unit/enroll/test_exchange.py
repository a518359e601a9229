# SPDX-License-Identifier: Apache-2.0
"""The token and what it is exchanged for; no bus."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent import errors
from guestagent.enroll import exchange, token
from guestagent.seal import value

SECRET = os.urandom(32)
BUNDLE = exchange.Bundle(['reports c gai1-x'], 'rabbit://h/', {'certificate': 'pem'})


def guest(secret: bytes = SECRET, instance: str = 'vm-1') -> exchange.Guest:
    return exchange.Guest(instance, secret, os.urandom(32))


def test_a_bundle_arrives() -> None:
    one = guest()
    public = exchange.check(one.request(), 'vm-1', exchange.verify_key(SECRET))

    answer = exchange.answer(exchange.seal(BUNDLE, SECRET, 'vm-1'), public)

    assert one.open(answer) == BUNDLE


def test_who_recorded_it_and_has_the_token_opens_nothing() -> None:
    one = guest()
    public = exchange.check(one.request(), 'vm-1', exchange.verify_key(SECRET))
    answer = exchange.answer(exchange.seal(BUNDLE, SECRET, 'vm-1'), public)

    with pytest.raises(value.Broken, match='not for this guest'):
        guest().open(answer)


@pytest.mark.parametrize(
    ('secret', 'instance'),
    [(os.urandom(32), 'vm-1'), (SECRET, 'vm-2')],
    ids=['token', 'guest'],
)
def test_another_token_or_guest_proves_nothing(secret: bytes, instance: str) -> None:
    request = guest(secret, instance).request()

    with pytest.raises(value.Broken):
        exchange.check(request, 'vm-1', exchange.verify_key(SECRET))


def test_a_bundle_of_another_guest_or_token_does_not_open() -> None:
    one = guest()
    public = exchange.check(one.request(), 'vm-1', exchange.verify_key(SECRET))
    for secret, instance in ((SECRET, 'vm-2'), (os.urandom(32), 'vm-1')):
        with pytest.raises(value.Broken):
            one.open(exchange.answer(exchange.seal(BUNDLE, secret, instance), public))


@given(
    st.one_of(st.none(), st.text(), st.binary().map(base64.b64encode), st.integers())
)
def test_nothing_else_is_taken(thing: object) -> None:
    text = thing.decode() if isinstance(thing, bytes) else thing
    with pytest.raises(value.Broken):
        exchange.check(text, 'vm-1', exchange.verify_key(SECRET))
    with pytest.raises(value.Broken):
        guest().open(text)


def test_a_token_is_read_as_it_was_written() -> None:
    made = token.new('vm-1', 'rabbit://enroll:p@h/', 7)

    assert token.parse(f' {made}\n', 'here') == made
    assert 'secret' not in repr(made)
    assert str(made)[5:] not in repr(made)


@given(st.one_of(st.text(), st.text().map(lambda text: f'gat1-{text}')))
def test_what_is_no_token_is_said_without_it(text: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        token.parse(text, 'here')
    assert str(caught.value).startswith('here: it is no token')


@given(st.dictionaries(st.sampled_from(token.Token._fields), st.integers() | st.text()))
def test_nor_is_json_of_another_kind_one(fields: dict[str, object]) -> None:
    import json

    text = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip('=')
    with pytest.raises(errors.ConfigError, match='it is no token'):
        token.parse(f'gat1-{text}', 'here')
