# SPDX-License-Identifier: Apache-2.0
"""Each error is one line that says what to do, and an exit code."""

import itertools
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

from guestagent import client, errors
from guestagent.ctl import base


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        ([], 'no command given; see guestctl --help'),
        (['--nope', 'ping', 'x'], 'unknown option --nope; see guestctl --help'),
        (['--timeout', '0', 'ping', 'x'], '0.* above 0; see guestctl --help'),
        (['--timeout', 'inf', 'ping', 'x'], 'above 0; see guestctl --help'),
        (['pong'], 'unknown command .pong.; did you mean: ping.'),
        (
            ['call', 'vm-1'],
            'arguments are required: EXTENSION.VERB; see guestctl call --help',
        ),
        (['instance', 'lsit'], 'unknown command .instance lsit.; did you mean: .*'),
        (
            ['instance'],
            'did you mean: instance delete, instance diagnose, instance enroll, '
            'instance list, instance revoke, instance rotate, instance show.',
        ),
        (['frobnicate'], 'unknown command .frobnicate.; see guestctl --help'),
        (['ping'], 'required: INSTANCE; see guestctl ping --help'),
        (['ping', 'x', '--debug'], 'unrecognized.*; see guestctl ping --help'),
        (
            ['event', 'list', '--limit', '0'],
            '0.* above 0; see guestctl event list --help',
        ),
        (['event', 'list', '--after', 'x'], 'not a whole number; see .* --help'),
        (['event', 'list', '--since', 'soon'], 'no time: write .* --help'),
        (['events', '--follow', '--until', '1h'], '--until cannot .* events --help'),
        (['events', '--follow', '--last', '1', '--after', '2'], '--last cannot .*'),
        (['facts', 'x', '--watch', '--sort-column', 'key'], '--sort-column cannot .*'),
        (
            ['command', 'list', '--running'],
            'needs an INSTANCE; see guestctl command .*',
        ),
        (['command', 'list', 'x', '--running', '--since', '1h'], '--since cannot .*'),
        (['command', 'list', '--outcome', 'bad'], 'invalid choice.*'),
        (['complete', '--shell', 'fish'], 'invalid choice.*complete --help'),
        (['call', 'x', 'a.b', '-f', 'table'], 'invalid choice.*call --help'),
        (['exec', 'x', '--'], 'write it after --; see guestctl exec --help'),
        (['exec', 'x', 'ls', '-l'], 'arguments: -l; see guestctl exec --help'),
        (['facts', 'x', '-f', 'nope'], 'invalid choice.*; see guestctl facts --help'),
        (['instance', 'list', '--state', 'x'], 'see guestctl instance list --help'),
    ],
)
def test_wrong_usage(ctl: Any, arguments: list[str], text: str) -> None:
    ended = ctl(*arguments)

    assert (ended.code, ended.out) == (2, b'')
    assert re.fullmatch(f'guestctl: .*{text}\n', ended.err)


@pytest.mark.parametrize(
    ('arguments', 'code', 'text'),
    [
        (['instance', 'show', 'vm-9'], 3, 'no instance .vm-9.'),
        (['command', 'show', 'vm-1', 'none'], 3, 'no command .none. of .vm-1.'),
        (['extension', 'show', 'vm-1', 'nope'], 3, 'no extension .nope.'),
        (
            ['extension', 'show', 'vm-1', 'exec', 'nope'],
            3,
            'no command .nope.; see guestctl extension show vm-1 exec',
        ),
        (
            ['call', 'vm-1', 'nope.x'],
            1,
            'does not serve .nope. in version 1.0; see guestctl extension list vm-1',
        ),
        (
            ['call', 'vm-1', 'test.nope'],
            1,
            'no command .nope.; see guestctl extension show vm-1 test',
        ),
        (['call', 'vm-1', 'test.refuse'], 5, 'policy: not you'),
        (['call', 'vm-1', 'test.late'], 4, 'did not end within 5 s'),
        (['call', 'vm-1', 'test.text'], 1, 'first line second line'),
        (['call', 'vm-1', 'test.echo', 'method=x'], 1, 'argument .method.: '),
        (['call', 'vm-1', 'nodot'], 1, 'write <extension>.<verb>, as exec.run'),
        (
            ['call', 'vm-1', 'test.echo', '--api-version', '1'],
            1,
            'write <major>.<minor>',
        ),
        (['ping', 'a b'], 2, 'argument INSTANCE: instance id .a b.: it must be'),
        (['facts', 'vm-1', '-c', 'nope'], 1, 'No recognized column names'),
    ],
)
def test_errors(
    guest: Any, conductor: Any, ctl: Any, arguments: list[str], code: int, text: str
) -> None:
    ended = ctl(*arguments)

    assert (ended.code, ended.out) == (code, b'')
    assert re.fullmatch(f'guestctl: .*{text}.*\n', ended.err)


def test_busy(guest: Any, ctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.error = errors.Busy('all workers of the agent are busy')
    monkeypatch.setattr(client, 'pauses', lambda first, last: itertools.repeat(999))

    ended = ctl('call', 'vm-1', 'exec.run')

    assert ended == (
        5,
        b'',
        'guestctl: all workers of the agent are busy; try again later\n',
    )


def test_silent_guest_is_told_with_its_state(conductor: Any, ctl: Any) -> None:
    ended = ctl('--timeout', '0.3', 'ping', 'vm-2')

    assert ended.code == 4
    assert re.fullmatch(
        'guestctl: guest .vm-2. did not answer within 0.3 s: .*; '
        'for the conductor it is DOWN, last seen at 2026-.*\n',
        ended.err,
    )


def test_silent_guest_that_nobody_knows(conductor: Any, ctl: Any) -> None:
    ended = ctl('--timeout', '0.3', 'ping', 'vm-9')

    assert ended.code == 4
    assert ended.err.endswith('; the conductor has never heard of it\n')


def test_no_conductor(ctl: Any) -> None:
    ended = ctl('--timeout', '0.2', 'instance', 'list')

    assert ended == (
        4,
        b'',
        'guestctl: the conductor did not answer within 0.2 s: '
        'see that guestagent-conductor runs\n',
    )


def test_debug_shows_the_traceback(guest: Any, ctl: Any) -> None:
    ended = ctl('--debug', 'call', 'vm-1', 'test.refuse')

    assert ended.code == 5
    assert ended.err.startswith('guestctl: policy: not you\nTraceback')


@pytest.mark.parametrize('text', ['x', '0', '-1', 'nan'])
def test_wrong_environment(
    ctl: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv('GUESTAGENT_TIMEOUT', text)

    ended = ctl('ping', 'vm-1')

    assert (ended.code, ended.out) == (2, b'')
    assert re.fullmatch('guestctl: .*GUESTAGENT_TIMEOUT.*above 0; .*\n', ended.err)


def test_timeout_of_the_environment(ctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('GUESTAGENT_TIMEOUT', '0.2')

    assert 'within 0.2 s' in ctl('instance', 'list').err
    assert 'within 0.1 s' in ctl('--timeout', '0.1', 'instance', 'list').err


def test_config_file_of_the_environment(
    ctl: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / 'named.conf'
    monkeypatch.setenv('GUESTAGENT_CONFIG_FILE', str(path))
    missing = ctl('ping', 'vm-1')
    assert missing.code == 2
    assert re.fullmatch(f'guestctl: configuration: .*{path}.*\n', missing.err)

    path.write_text('[DEFAULT]\ntransport_url = nothing://\n')
    monkeypatch.delenv('GUESTAGENT_TRANSPORT_URL')
    assert 'transport URL: ' in ctl('ping', 'vm-1').err


def test_text_of_a_guest_does_not_steer_the_terminal() -> None:
    assert base.cell('a\x1b[2J\tö\nb\u202e', raw=False) == 'a\\x1b[2J\\tö\nb\\u202e'
    assert base.cell('a\x1b[2J', raw=True) == 'a\x1b[2J'


def test_nor_does_the_error_of_a_guest(guest: Any, ctl: Any) -> None:
    guest.error = errors.GuestError('no\x1b]0;x\x07 such\u202e thing\nhere')

    assert ctl('call', 'vm-1', 'exec.run').err == (
        'guestctl: no\\x1b]0;x\\x07 such\\u202e thing here\n'
    )


def test_no_transport_url(ctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('GUESTAGENT_TRANSPORT_URL')

    ended = ctl('ping', 'vm-1')

    assert ended.code == 2
    assert 'give --transport-url' in ended.err


def test_wrong_transport_url(ctl: Any) -> None:
    ended = ctl('--transport-url', 'nothing://user:secret@host/', 'ping', 'vm-1')

    assert ended.code == 2
    assert re.fullmatch(
        'guestctl: transport URL: .*; write it as rabbit://.*\n', ended.err
    )
    assert 'secret' not in ended.err


def test_configuration_file(
    guest: Any, exchange: str, ctl: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('GUESTAGENT_TRANSPORT_URL')
    monkeypatch.delenv('GUESTAGENT_EXCHANGE')
    path = tmp_path / 'guestctl.conf'
    path.write_text(
        f'[DEFAULT]\ntransport_url = fake://\ncontrol_exchange = {exchange}\n'
    )

    assert ctl('ping', 'vm-1').code == 0
    assert ctl('--config-file', str(path), 'ping', 'vm-1').code == 0


def test_broken_configuration_files(ctl: Any, tmp_path: Any) -> None:
    path = tmp_path / 'other.conf'
    missing = ctl('--config-file', str(path), 'ping', 'vm-1')
    path.write_text('nonsense\n')
    broken = ctl('--config-file', str(path), 'ping', 'vm-1')

    for ended in (missing, broken):
        assert ended.code == 2
        assert re.fullmatch(f'guestctl: configuration: .*{path}.*\n', ended.err)


def test_help_names_each_command(ctl: Any) -> None:
    ended = ctl('--help')

    assert ended.code == 0
    for name in ('call', 'exec', 'instance list', 'extension show'):
        assert f'\n  {name} ' in ended.out.decode()


@pytest.mark.parametrize('arguments', [['--version'], ['pong']])
def test_the_library_is_loaded_by_what_needs_the_bus(arguments: list[str]) -> None:
    program = (
        'import sys; from guestagent.ctl import app\n'
        'try: app.main(sys.argv[1:])\n'
        'except SystemExit: pass\n'
        'sys.exit("oslo_messaging" in sys.modules or "cmd2" in sys.modules)'
    )

    subprocess.run(
        [sys.executable, '-c', program, *arguments], check=True, capture_output=True
    )
