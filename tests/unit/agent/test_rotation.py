# SPDX-License-Identifier: Apache-2.0
"""New keys beside those before, and a password beside the one before."""

import json
import os
import pathlib
import time
import types

import pytest

from guestagent import errors
from guestagent.agent import rotation
from guestagent.bus import url
from guestagent.seal import keys

OLD = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32)).derive('vm-1')
NEW = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32)).derive('vm-1')
KEPT = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32)).derive('vm-1')


@pytest.fixture
def conf(tmp_path: pathlib.Path) -> types.SimpleNamespace:
    (tmp_path / 'keys').write_text(f'{OLD}\n{KEPT}\n')
    (tmp_path / 'keys').chmod(0o600)
    (tmp_path / 'enrolled').write_text(
        json.dumps({'instance': 'vm-1', 'url': 'rabbit://a:1@h:5/v', 'token': ''})
    )
    return types.SimpleNamespace(state_dir=str(tmp_path))


def kept(conf: types.SimpleNamespace) -> list[keys.Line]:
    text = pathlib.Path(conf.state_dir, 'keys').read_text()
    return keys.parse(text, 'keys')


def test_what_is_new_comes_last_and_the_rest_ends(conf: types.SimpleNamespace) -> None:
    rotation.rotate(conf, [str(NEW), str(KEPT)], '', 600)

    first, *others = kept(conf)
    assert first.secret == OLD.secret
    assert first.until == pytest.approx(time.time() + 600, abs=30)
    assert others == [NEW, KEPT]
    assert pathlib.Path(conf.state_dir, 'keys').stat().st_mode & 0o777 == 0o600
    # What is over goes.
    rotation.rotate(conf, [str(NEW), str(KEPT)], '', 0)
    rotation.rotate(conf, [str(NEW), str(KEPT)], '', 0)
    assert kept(conf)[-2:] == [NEW, KEPT]


@pytest.mark.parametrize(
    ('lines', 'address', 'overlap'),
    [
        ([], '', 1),
        (['nonsense'], '', 1),
        ([str(OLD._replace(master=True))], '', 1),
        ([str(NEW)], 'nonsense://', 1),
        ([str(NEW)], '', -1),
        ([str(NEW)], '', float('nan')),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    conf: types.SimpleNamespace, lines: list[str], address: str, overlap: float
) -> None:
    with pytest.raises(errors.InvalidArgument):
        rotation.rotate(conf, lines, address, overlap)

    assert kept(conf) == [OLD, KEPT]


def test_a_guest_that_was_not_enrolled_refuses(tmp_path: pathlib.Path) -> None:
    conf = types.SimpleNamespace(state_dir=str(tmp_path))

    with pytest.raises(errors.Refused, match='was not enrolled'):
        rotation.rotate(conf, [str(NEW)], '', 1)


def test_of_the_passwords_the_new_one_and_the_last_are_tried() -> None:
    first = rotation.with_former('rabbit://a:2@h:5,a:2@i:5/v?ssl=1', 'rabbit://a:1@h:5')
    second = rotation.with_former('rabbit://a:3@h:5/v', first)

    assert url.parse(first).query == {'ssl': '1'}
    found = [(str(one), one.password) for one in url.parse(first).brokers]
    assert found == [('h:5', '2'), ('i:5', '2'), ('h:5', '1')]
    found = [(str(one), one.password) for one in url.parse(second).brokers]
    assert found == [('h:5', '3'), ('h:5', '2'), ('i:5', '2')]
