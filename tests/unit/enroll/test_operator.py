# SPDX-License-Identifier: Apache-2.0
"""What operators say: believed of who has the conductor's key, and in time."""

import os

import pytest

from guestagent import errors
from guestagent.enroll import operator
from guestagent.seal import keys, value

NOW = 1_700_000_000.0
LINE = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))


def said(desk: operator.Desk, stamp: float = NOW) -> tuple[str, bytes]:
    return desk.seal({'action': 'revoke', 'stamp': int(stamp * 1000)})


def test_an_operator_is_heard_and_answered() -> None:
    here = operator.Desk([LINE], NOW)
    there = operator.Desk([LINE._replace(secret=os.urandom(32)), LINE], NOW)
    text, nonce = said(here)

    opened = there.open(text, NOW)

    assert opened.fields['action'] == 'revoke'
    assert here.open_answer(there.answer(opened, {'a': 1}), nonce) == {'a': 1}
    with pytest.raises(value.Broken):
        here.open_answer(there.answer(opened, {}), os.urandom(24))
    with pytest.raises(value.Broken):
        here.open_answer(text, nonce)


@pytest.mark.parametrize(
    'line', [LINE._replace(secret=bytes(32)), LINE._replace(name='other')]
)
def test_another_key_is_not(line: keys.Line) -> None:
    text, _ = said(operator.Desk([line], NOW))

    with pytest.raises(value.Broken, match='not sealed with one of'):
        operator.Desk([LINE], NOW).open(text, NOW)


@pytest.mark.parametrize('apart', [-301, 301])
def test_nor_is_what_was_said_at_another_time(apart: int) -> None:
    desk = operator.Desk([LINE], NOW)

    with pytest.raises(value.Broken, match='another time'):
        desk.open(said(desk, NOW + apart)[0], NOW)


@pytest.mark.parametrize(
    'line',
    [
        LINE._replace(use=keys.COMMANDS),
        LINE.derive('vm-1'),
        LINE._replace(until=NOW - 1),
    ],
)
def test_what_is_no_key_of_the_conductor_is_refused(line: keys.Line) -> None:
    with pytest.raises(errors.ConfigError, match='no master key for reports'):
        operator.Desk([line], NOW)
