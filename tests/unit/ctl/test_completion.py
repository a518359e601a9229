# SPDX-License-Identifier: Apache-2.0
"""Completion, as bash itself does it."""

import pathlib
import subprocess
from typing import Any

import pytest

#: Prints what is proposed; the words of the command line are the arguments.
_DRIVER = """
guestctl() { echo "$@" >> "$ASKED"; printf '%s\\n' web-1 web-2 db-1; }
source "$SCRIPT"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_guestctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(ctl: Any, tmp_path: pathlib.Path) -> Any:
    """``complete(*words)``: the proposals for the last of the words."""
    ended = ctl('complete')
    assert (ended.code, ended.err) == (0, '')
    script = tmp_path / 'completion'
    script.write_bytes(ended.out)

    def run(*words: str) -> list[str]:
        done = subprocess.run(
            ['bash', '--norc', '-uc', _DRIVER, 'bash', 'guestctl', *words],
            env={
                'PATH': '/usr/bin:/bin',
                'SCRIPT': str(script),
                'ASKED': str(tmp_path / 'asked'),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ''
        return done.stdout.split()

    return run


@pytest.mark.parametrize(
    ('words', 'proposed'),
    [
        (['inst'], ['instance']),
        (
            ['instance', ''],
            ['delete', 'diagnose', 'enroll', 'list', 'revoke', 'rotate', 'show'],
        ),
        (['command', 'w'], ['watch']),
        (['--timeout', '5', 'pi'], ['ping']),
        (['--transport-url', 'rabbit', ':', '//me', ':', 'x@h/', 'pi'], ['ping']),
        (['--tim'], ['--timeout']),
        (['instance', 'list', '--st'], ['--state']),
        (['instance', 'list', '--state', ''], ['NEW', 'UP', 'DOWN', 'STOPPED']),
        (['call', 'vm-1', '-f', 'y'], ['yaml']),
        (['command', 'list', '--outcome', 'f'], ['failed']),
        (['event', 'list', '--after', ''], []),
        (['instance', 'show', 'w'], ['web-1', 'web-2']),
        (['facts', '--watch', 'd'], ['db-1']),
        (['facts', '-f', 'json', 'd'], ['db-1']),
        (['event', 'list', '--instance', 'd'], ['db-1']),
        (['exec', 'web-1', '--', 'w'], []),
        (['exec', 'web-1', 'w'], []),
        (['nonsense', 'x'], []),
    ],
)
def test_proposals(complete: Any, words: list[str], proposed: list[str]) -> None:
    assert complete(*words) == proposed


def test_the_conductor_is_asked_only_for_instances(
    complete: Any, tmp_path: pathlib.Path
) -> None:
    complete('instance', 'l')
    assert not (tmp_path / 'asked').exists()

    complete('instance', 'show', '')
    assert (tmp_path / 'asked').read_text() == (
        '--timeout 3 instance list -f value -c id\n'
    )


def test_another_name(ctl: Any) -> None:
    script = ctl('complete', '--name', 'guest-ctl').out.decode()

    assert 'complete -o default -F _guest_ctl guest-ctl\n' in script


def test_data_alone(ctl: Any) -> None:
    ended = ctl('complete', '--shell', 'none')

    assert (
        b"cmds_instance='delete diagnose enroll list revoke rotate show'" in ended.out
    )
