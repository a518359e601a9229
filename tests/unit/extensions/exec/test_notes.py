# SPDX-License-Identifier: Apache-2.0
"""What the audit log is told of the input of programs."""

import os
import signal

import pytest

from guestagent import errors, testing
from tests.unit.extensions.exec import bed


class Host(testing.Host):
    """Can be kept from taking notes, and does something before it takes one."""

    full = False

    def before(self, about):
        pass

    def record_note(self, extension, method, context, about, needed):
        self.before(about)
        if self.full:
            raise errors.StorageError('the disk is full')
        super().record_note(extension, method, context, about, needed)


@pytest.fixture
def host():
    return Host()


def wait_noted(host, count):
    bed.wait_for(lambda: len(host.notes) >= count)
    return [about for _, _, about in host.notes]


def test_that_it_begins_and_how_much_it_was(guest, host):
    here = guest()
    started = here.spawn(shell='cat >/dev/null', keep_stdin=True)
    here.write(started['handle'])  # tells where it stands
    assert host.notes == []

    for part in ('hunter2\n', 'more\n', ''):
        here.write(started['pid'], part, close=not part)
    here.end(started['handle'])

    assert wait_noted(host, 2) == [
        {**started, 'input': 'begins'},
        {**started, 'input_bytes': 13},
    ]
    assert {(name, context.caller) for name, context, _ in host.notes} == {
        ('exec.spawn', 'me')
    }


def test_of_who_gets_none_nothing_is_said(guest, host):
    here = guest()
    here.end(here.spawn(shell='cat', stdin='hunter2')['handle'])
    closed = here.spawn(argv=['sleep', str(bed.LONG)])['handle']
    with pytest.raises(errors.GuestError, match='reads nothing'):
        here.write(closed, 'hunter2')
    here.signal(closed, 'KILL')
    here.end(closed)
    assert host.notes == []


def test_what_cannot_be_noted_is_not_given(guest, host):
    here = guest()
    handle = here.spawn(argv=['cat'], keep_stdin=True)['handle']
    host.full = True
    with pytest.raises(errors.StorageError):
        here.write(handle, 'hunter2', close=True)
    assert here.write(handle) == {'offset': 0, 'complete': True, 'open': True}

    host.full = False
    here.write(handle, 'x', close=True)
    here.end(handle)
    assert here.text(handle) == b'x'


def test_the_end_is_noted_though_it_comes_between(guest, host):
    here = guest()
    started = here.spawn(argv=['cat'], keep_stdin=True)

    def end(about):
        if 'input' in about:
            os.kill(started['pid'], signal.SIGKILL)
            bed.wait_for(lambda: not any(one['running'] for one in here.list()))

    host.before = end
    with pytest.raises(errors.GuestError, match='reads nothing'):
        here.write(started['handle'], 'x')

    assert wait_noted(host, 2)[1] == {**started, 'input_bytes': 0}
