# SPDX-License-Identifier: Apache-2.0
"""What callers of programs that outlive a call are refused, and how it is said."""

import os

import pytest

from guestagent import errors, extension
from tests.unit.extensions.exec import bed

HOSTILE = [
    ('spawn', {'argv': ['true'], 'pty': {'rows': 0}}, 'rows: 0 is not from 1 to 65535'),
    (
        'spawn',
        {'argv': ['true'], 'pty': {'x': 1}},
        "pty: it has rows and cols, and no 'x'",
    ),
    (
        'spawn',
        {'argv': ['true'], 'pty': True, 'capture': 'none'},
        'capture: a terminal',
    ),
    ('spawn', {'argv': ['true'], 'retain': -1}, 'retain: -1 is not above 0'),
    ('spawn', {'argv': ['true'], 'retain': float('nan')}, 'retain: nan is not'),
    ('spawn', {'argv': ['true'], 'timeout': 1e9}, 'timeout: 1e+09 is not above'),
    ('spawn', {'argv': ['true'], 'output_limit': 2**40}, '[exec] kept_limit_max'),
    ('spawn', {'argv': ['true'], 'limits': {'x': 1}}, "limits: there is no 'x'; there"),
    ('spawn', {'argv': ['true'], 'limits': {'files': -1}}, 'files cannot be -1'),
    ('spawn', {'argv': ['true'], 'limits': {'memory': 2**80}}, 'memory cannot be'),
    ('spawn', {'shell': 'true', 'script': 'x'}, 'give either shell or script'),
    ('spawn', {'script': '!', 'script_encoding': 'base64'}, 'script: it is not valid'),
    ('spawn', {'script': '#!/bin/sh', 'argv': ['\0']}, 'argv: it must not contain NUL'),
    ('read', {'offset': -1}, 'offset: -1 is below 0'),
    ('read', {'count': 0}, 'count: 0 is not from 1 to'),
    ('read', {'count': 2**40}, 'is not from 1 to'),
    ('poll', {'offsets': {'stdin': 0}}, "there is no stream 'stdin'"),
    ('write', {'data': 'x', 'offset': 5}, 'offset: 5 is not between 0 and 0'),
    ('write', {'data': 'x', 'encoding': 'base64'}, 'data: it is not valid base64'),
    ('signal', {'signal': 'NOPE'}, "there is no signal 'NOPE'"),
    ('signal', {'signal': 0}, 'there is no signal 0'),
    ('signal', {'signal': '99999999999999999999'}, 'there is no signal'),
    ('signal', {'signal': '²'}, 'there is no signal'),
    ('resize', {'rows': 1, 'cols': 1}, 'has no terminal: Inappropriate ioctl'),
]


def test_what_makes_no_sense_is_the_callers_mistake(guest):
    here = guest()
    handle = here.spawn(argv=['cat'], keep_stdin=True)['handle']
    for method, arguments, message in HOSTILE:
        given = arguments if method == 'spawn' else {'handle': handle, **arguments}
        with pytest.raises(errors.InvalidArgument) as caught:
            getattr(here, method)(**given)
        assert message in str(caught.value), arguments
        assert '\n' not in str(caught.value)
    assert len(here.list()) == 1
    # Any bytes beyond the end are the end.
    assert here.read(handle, offset=2**70)['next'] == 0
    here.write(handle, close=True)
    assert here.end(handle)['exit_code'] == 0


@pytest.mark.parametrize('handle', ['', 'p', '1', 0, 1, -1, True, 2**70])
def test_there_is_no_such_program(guest, handle):
    here = guest()
    here.spawn(argv=['sleep', str(bed.LONG)])
    for method, more in (
        ('status', {}),
        ('read', {}),
        ('poll', {}),
        ('wait', {}),
        ('write', {}),
        ('signal', {'signal': 9}),
        ('resize', {'rows': 1, 'cols': 1}),
    ):
        with pytest.raises(errors.NoSuchRecord):
            getattr(here, method)(handle, **more)


@pytest.mark.parametrize('other', ['', 'other', 'me'])
def test_nobody_uses_the_program_of_another(guest, other):
    made = guest().made
    # One who merely claims the name is another, too.
    mine, theirs = extension.Context('me', proven=True), extension.Context(other)
    started = made.spawn(mine, argv=['cat'], keep_stdin=True)
    assert made.list(theirs) == []
    for handle in started['handle'], started['pid']:
        for call in (
            lambda handle=handle: made.read(theirs, handle),
            lambda handle=handle: made.poll(theirs, handle),
            lambda handle=handle: made.write(theirs, handle, 'x'),
            lambda handle=handle: made.status(theirs, handle),
            lambda handle=handle: made.wait(theirs, handle, 0),
            lambda handle=handle: made.signal(theirs, handle, 'KILL'),
            lambda handle=handle: made.resize(theirs, handle, 1, 1),
        ):
            with pytest.raises(errors.NoSuchRecord, match='there is no program'):
                call()
        assert made.forget(theirs, handle) == {'forgotten': False}

    made.write(mine, started['pid'], 'mine', close=True)
    assert made.wait(mine, started['handle'])['stdout_bytes'] == 4
    assert [one['pid'] for one in made.list(mine)] == [started['pid']]


def test_a_guest_without_descriptors_says_so(guest, monkeypatch):
    here = guest()
    here.run(argv=['true'])

    def refuse():
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(os, 'pipe', refuse)
    with pytest.raises(errors.GuestError, match='Too many open files'):
        here.spawn(argv=['true'])
    monkeypatch.undo()
    assert here.list() == []
    bed.wait_for(lambda: not bed.engine_threads())


def test_a_program_that_cannot_be_watched_does_not_stay(guest, monkeypatch):
    here = guest()
    here.spawn(argv=['sleep', str(bed.LONG)])  # so that the engine is there
    engine = here.made._made._engine

    def refuse(*_arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(engine, 'watch', refuse)
    before = len(os.listdir('/proc/self/fd'))
    with pytest.raises(errors.GuestError, match='cannot be watched: No space left'):
        here.spawn(argv=['sleep', str(bed.LONG)])
    assert len(os.listdir('/proc/self/fd')) <= before
    assert len(here.list()) == 1
