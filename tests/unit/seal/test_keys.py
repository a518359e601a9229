# SPDX-License-Identifier: Apache-2.0
"""HKDF, the text of keys, and rings of them."""

import hashlib
import hmac
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent import errors
from guestagent.seal import hkdf, keys

MASTER = keys.Line(keys.COMMANDS, 'nova', True, bytes(range(32)))


@pytest.mark.parametrize(
    ('secret', 'salt', 'info', 'expected'),
    [
        (  # RFC 5869, A.1
            '0b' * 22,
            '000102030405060708090a0b0c',
            'f0f1f2f3f4f5f6f7f8f9',
            '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf'
            '34007208d5b887185865',
        ),
        (  # A.3: neither salt nor info
            '0b' * 22,
            '',
            '',
            '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d'
            '9d201395faa4b61a96c8',
        ),
    ],
)
def test_hkdf_is_that_of_the_rfc(secret, salt, info, expected):
    made = hkdf.derive(*map(bytes.fromhex, (secret, salt, info)), 42)
    assert made.hex() == expected


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hmac_is_the_library_s(key, data):
    assert hkdf._hmac(key, data) == hmac.new(key, data, hashlib.sha256).digest()


@given(
    st.sampled_from(keys.USES),
    st.from_regex(r'[A-Za-z0-9_.@-]{1,64}', fullmatch=True),
    st.booleans(),
    st.binary(min_size=32, max_size=32),
    st.none() | st.integers(0, 4000000000).map(float),
)
def test_a_key_is_read_as_it_was_written(use, name, master, secret, until):
    line = keys.Line(use, name, master, secret, until)
    assert keys.parse(f'# mine\n\n{line}\n', 'keys') == [line]


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('commands nova', 'a line is:'),
        ('commands nova gam1-x until', 'a line is:'),
        (f'orders nova {str(MASTER).split()[2]}', 'the first word'),
        (f'commands n/va {str(MASTER).split()[2]}', 'a name is'),
        ('commands nova gax1-0123', 'begins with'),
        ('commands nova gam1-SECRET', 'damaged'),
        (f'{MASTER}A', 'damaged'),
        (f'{MASTER} until tomorrow', 'written in UTC'),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(text, reason):
    with pytest.raises(errors.ConfigError, match=f'^k, line 2: .*{reason}') as caught:
        keys.parse(f'#\n{text}', 'k')
    assert 'SECRET' not in str(caught.value)
    assert str(MASTER).split()[2] not in str(caught.value)


def test_no_key_shows_its_secret_by_itself():
    assert repr(MASTER) == '<key commands nova>'
    assert str(MASTER).split()[2] not in repr([MASTER])


def test_each_guest_name_and_use_has_a_key_of_its_own():
    lines = [
        MASTER,
        MASTER._replace(name='trove'),
        MASTER._replace(use=keys.REPORTS),
        MASTER._replace(secret=os.urandom(32)),
    ]
    derived = [line.derive(instance) for line in lines for instance in ('a', 'b')]
    assert len({line.secret for line in derived}) == 8
    assert len({keys.Key(line).id for line in derived}) == 8
    # What a line is for counts, even where the secret is the same.
    one = derived[0]
    assert keys.Key(one).id != keys.Key(one._replace(use=keys.REPORTS)).id


def test_a_key_ends_at_its_time():
    line = MASTER.derive('vm-1')._replace(until=100.0)
    ring = keys.GuestRing([line])
    key_id = keys.Key(line).id
    assert ring.find(key_id, 99.9).id == key_id
    assert ring.find(key_id, 100.0) is None
    assert ring.find(bytes(8), 0) is None


def test_the_last_valid_key_seals_and_all_valid_ones_open():
    old = MASTER._replace(until=100.0)
    new = MASTER._replace(secret=os.urandom(32))
    ring = keys.MasterRing([new, old], keys.COMMANDS)
    first, second = ring.sealing('nova', 'vm-1', 50), ring.sealing('nova', 'vm-1', 150)
    assert first.line == old.derive('vm-1')
    assert second.line == new.derive('vm-1')
    assert ring.find(second.id, 'vm-1', 50) is second
    assert ring.find(first.id, 'vm-1', 150) is None
    assert ring.find(first.id, 'vm-2', 50) is None
    with pytest.raises(errors.ConfigError, match='no valid key'):
        keys.MasterRing([old], keys.COMMANDS).sealing('nova', 'vm-1', 150)


def test_reports_are_sealed_with_a_key_for_reports_only():
    report = MASTER._replace(use=keys.REPORTS, name='conductor')
    lines = [line.derive('vm-1') for line in (report, MASTER)]
    assert keys.GuestRing(lines).reporting(0).line == lines[0]
    assert keys.GuestRing(lines[1:]).reporting(0) is None


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (lambda: keys.GuestRing([]), 'no key'),
        (lambda: keys.GuestRing([MASTER]), 'must not have'),
        (lambda: keys.MasterRing([], keys.COMMANDS), 'no key for commands'),
        (lambda: keys.MasterRing([MASTER], keys.REPORTS), 'no key for reports'),
        (
            lambda: keys.MasterRing([MASTER.derive('a')], keys.COMMANDS),
            'where master keys',
        ),
    ],
)
def test_keys_are_refused_where_they_do_not_belong(make, reason):
    with pytest.raises(errors.ConfigError, match=reason):
        make()


def test_a_key_can_be_made_to_end_earlier_and_not_later():
    assert MASTER.ending(9.0).until == 9.0
    assert MASTER._replace(until=5.0).ending(9.0).until == 5.0
