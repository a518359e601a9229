# SPDX-License-Identifier: Apache-2.0
"""Scripts, limits and environments with which programs are started."""

import base64
import os
import pathlib
import sys

import pytest

from guestagent import errors
from tests.unit.extensions.exec import bed

SCRIPT = '#!/bin/sh\necho "$#" "$1" "$2"\nid -un\nexit 3\n'


def test_a_script_is_run_and_leaves_nothing(guest, tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    here = guest()
    done = here.run(script=SCRIPT, argv=['a b', 'c'])

    assert done['exit_code'] == 3
    assert done['stdout'].startswith('2 a b c\n')
    assert list(tmp_path.iterdir()) == []
    assert 'script' not in str(os.listdir('/proc/self/fd'))


@bed.ROOT_ONLY
def test_a_script_runs_as_another_user_who_alone_can_read_it(guest):
    done = guest().run(
        script='#!/bin/sh\nid -un; stat -Lc "%U %a" $0; echo x >$0', user='nobody'
    )
    assert done['stdout'] == 'nobody\nnobody 500\n'
    assert done['exit_code'] != 0


def test_a_binary_and_an_interpreter(guest):
    here = guest()
    data = base64.b64encode(pathlib.Path('/bin/echo').read_bytes()).decode()
    done = here.run(script=data, script_encoding='base64', argv=['from', 'memory'])
    assert done['stdout'] == 'from memory\n'
    done = here.run(
        script=f'#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\n', argv=['1']
    )
    assert done['stdout'] == "['1']\n"
    with pytest.raises(errors.InvalidArgument, match='needs #! in its first line'):
        here.run(script='echo no first line')


@pytest.mark.parametrize(
    ('limits', 'shell', 'ending'),
    [
        ({'cpu_seconds': 1}, 'while :; do :; done', 'SIGXCPU'),
        ({'file_size': 1000}, 'exec head -c 9999 /dev/zero >"$F"', 'SIGXFSZ'),
        ({'files': 4}, 'exec 3</dev/null 4</dev/null', 2),
        ({'memory': 500_000_000}, f'{sys.executable} -c "bytearray(10**9)"', 1),
    ],
)
def test_limits(guest, tmp_path, limits, shell, ending):
    done = guest().run(shell=shell, limits=limits, env={'F': str(tmp_path / 'file')})

    assert (done['signal_name'] or done['exit_code']) == ending


@bed.ROOT_ONLY
def test_a_limit_of_processes(guest):
    done = guest().run(
        shell='(sleep 1) & (sleep 1) & (sleep 1) & wait',
        limits={'processes': 2},
        user='nobody',
    )
    assert done['exit_code'] != 0
    assert 'fork' in done['stderr']


def test_an_environment_that_is_given_whole(guest):
    done = guest().run(argv=['/usr/bin/env'], env={'A': 'b'}, clear_env=True)

    assert done['stdout'] == 'A=b\n'
