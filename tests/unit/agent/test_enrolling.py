# SPDX-License-Identifier: Apache-2.0
"""What becomes of a token before and after it is exchanged; no bus."""

import json
import pathlib
import stat

import pytest

from guestagent import errors, systemd
from guestagent.agent import enrolling
from guestagent.conf import agent, config
from guestagent.enroll import token

QUIET = systemd.Notifier({})


@pytest.fixture
def conf(tmp_path: pathlib.Path) -> config.Config:
    """The configuration of a guest that is to get a token."""
    made = config.Config()
    agent.register(made)
    made.load([], prog='test', name='none', description='')
    made.set_override('state_dir', str(tmp_path / 'state'))
    made.set_override('token_file', str(tmp_path / 'token'), 'enroll')
    return made


def hand_out(conf: config.Config) -> token.Token:
    """Put a token where the guest looks for it; nobody listens at its URL."""
    made = token.new('vm-1', 'rabbit://guest:hunter2@127.0.0.1:1/', 2**40)
    path = pathlib.Path(conf.enroll.token_file)
    path.write_text(f'{made}\n')
    path.chmod(0o644)
    return made


def kept(conf: config.Config) -> pathlib.Path:
    return pathlib.Path(conf.state_dir, 'token')


def enrolled(conf: config.Config) -> None:
    """Let the guest have been enrolled, by another token."""
    folder = pathlib.Path(conf.state_dir)
    folder.mkdir(mode=0o700)
    fields = {'instance': 'vm-1', 'url': 'rabbit://h/', 'token': 'ab'}
    (folder / 'enrolled').write_text(json.dumps(fields))


def test_a_token_is_moved_to_where_only_the_agent_can_read(conf) -> None:
    made = hand_out(conf)

    enrolling.fetch(conf, QUIET)

    assert not pathlib.Path(conf.enroll.token_file).exists()
    assert stat.S_IMODE(kept(conf).stat().st_mode) == 0o600
    assert enrolling.find_token(conf) == made
    # As after a crash: it is there, and nothing is waited for.
    enrolling.fetch(conf, QUIET)
    assert enrolling.find_token(conf) == made


def test_a_file_that_nothing_was_written_to_yet_is_no_token(conf, monkeypatch) -> None:
    path = pathlib.Path(conf.enroll.token_file)
    waited = []

    def write_it(seconds, notifier):
        waited.append(seconds)
        hand_out(conf)

    path.write_text('\n')
    monkeypatch.setattr(enrolling, '_sleep', write_it)

    enrolling.fetch(conf, QUIET)

    assert len(waited) == 1
    assert not path.exists()
    assert enrolling.find_token(conf) is not None


def test_nothing_is_written_where_a_link_leads(conf, tmp_path) -> None:
    hand_out(conf)
    folder = pathlib.Path(conf.state_dir)
    folder.mkdir(mode=0o700)
    other = tmp_path / 'other'
    other.write_text('of root')
    for name in ('token', 'token.new'):
        (folder / name).symlink_to(other)

    enrolling.fetch(conf, QUIET)

    assert other.read_text() == 'of root'
    assert kept(conf).is_file()
    assert not kept(conf).is_symlink()


def test_an_enrolled_guest_waits_for_no_other_token(conf) -> None:
    enrolled(conf)

    enrolling.fetch(conf, QUIET)
    enrolling.ensure(conf, QUIET)

    assert conf.instance_id == 'vm-1'
    assert conf.transport_url == 'rabbit://h/'


def test_another_token_is_kept_until_it_is_judged(conf, monkeypatch, caplog) -> None:
    enrolled(conf)
    hand_out(conf)

    enrolling.fetch(conf, QUIET)
    enrolling.ensure(conf, QUIET)

    # Nobody was there: it is tried again at the next start.
    assert kept(conf).exists()
    assert 'another token is there and could not be exchanged' in caplog.text
    assert 'hunter2' not in caplog.text

    def refuse(*_: object) -> None:
        raise errors.Refused('it is not the token of this guest')

    monkeypatch.setattr(enrolling.once, 'connect', refuse)
    enrolling.ensure(conf, QUIET)
    assert not kept(conf).exists()
    assert conf.transport_url == 'rabbit://h/'
