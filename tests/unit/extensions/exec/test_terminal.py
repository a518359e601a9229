# SPDX-License-Identifier: Apache-2.0
"""Programs in a terminal of their own."""

import sys

import pytest

from guestagent import errors
from tests.unit.extensions.exec import bed


def test_in_a_terminal(guest):
    here = guest()
    code = (
        'import os, sys\n'
        'print([os.isatty(n) for n in range(3)], os.get_terminal_size(), '
        'os.tcgetpgrp(0) == os.getpgrp(), open("/dev/tty").isatty())\n'
        'print(input())\nprint("size", os.get_terminal_size())\n'
        'print(sys.stdin.read())\n'
    )
    started = here.spawn(
        argv=[sys.executable, '-c', code],
        pty={'rows': 30, 'cols': 100},
        keep_stdin=True,
        timeout=60,
    )
    handle = started['handle']

    said = here.until(handle, b'\r\n')
    assert b'[True, True, True]' in said
    assert b'columns=100, lines=30) True True' in said
    here.resize(handle, 50, 120)
    here.write(handle, 'hello\n')
    # The echo, and the answer.
    assert here.until(handle, b'lines=50)').count(b'hello') == 2
    here.write(handle, 'half a line', close=True)
    assert here.end(handle)['exit_code'] == 0
    with pytest.raises(errors.InvalidArgument, match='has no terminal'):
        here.resize(handle, 50, 120)


def test_a_terminal_passes_on_control_characters(guest):
    here = guest()
    handle = here.spawn(argv=['cat'], pty=True, keep_stdin=True, timeout=60)['handle']
    here.write(handle, 'hi\n')
    here.until(handle, b'hi\r\nhi')

    here.write(handle, '\x03')

    assert here.end(handle)['signal_name'] == 'SIGINT'


def test_a_terminal_without_input_is_at_its_end(guest):
    here = guest()
    handle = here.spawn(argv=['cat'], pty=True)['handle']
    assert here.end(handle)['exit_code'] == 0
    handle = here.spawn(argv=['cat'], pty=True, stdin='no newline')['handle']
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle) == b'no newlineno newline'


@bed.ROOT_ONLY
def test_a_terminal_belongs_to_the_user(guest):
    here = guest()
    handle = here.spawn(
        shell='id -un; stat -c %U $(tty); echo x >$(tty)', pty=True, user='nobody'
    )['handle']
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle).split() == [b'nobody', b'nobody', b'x']
