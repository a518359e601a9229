# SPDX-License-Identifier: Apache-2.0
"""Open files: modes, positions, pipes, limits, and whose they are."""

import base64
import os
import stat
import threading
import time

import pytest
from guestagent_file import extension as file_extension

from guestagent import errors, extension

CONTEXT = extension.Context('me')


@pytest.fixture
def files(make):
    own = make(file_extension.File, 'file')
    yield own
    own.stop()


def encoded(data):
    return base64.b64encode(data).decode()


def opened(own, path, mode='r', **arguments):
    return own.open(CONTEXT, str(path), mode, **arguments)['handle']


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not come about'
        time.sleep(0.01)


def test_read_write_and_seek(files, tmp_path):
    handle = opened(files, tmp_path / 'f', 'w+b')

    assert files.write(CONTEXT, handle, encoded(b'hello world')) == {
        'count': 11,
        'eof': False,
    }
    assert (
        files.write(CONTEXT, handle, encoded(b'HE..'), count=2, offset=0)['count'] == 2
    )
    assert files.seek(CONTEXT, handle, -5, 'end') == {'position': 6, 'eof': False}
    answer = files.read(CONTEXT, handle, 5)
    assert answer == {'data': encoded(b'world'), 'count': 5, 'eof': False}
    assert files.read(CONTEXT, handle) == {'data': '', 'count': 0, 'eof': True}
    assert files.read(CONTEXT, handle, 100, offset=0) == {
        'data': encoded(b'HEllo world'),
        'count': 11,
        'eof': True,
    }
    files.truncate(CONTEXT, 3, handle=handle)
    files.flush(CONTEXT, handle)
    files.close(CONTEXT, handle)
    assert (tmp_path / 'f').read_bytes() == b'HEl'


@pytest.mark.parametrize(
    ('mode', 'before', 'after'),
    [('a', b'old', b'oldnew'), ('w', b'old!', b'new'), ('r+', b'old!', b'new!')],
)
def test_modes(files, tmp_path, mode, before, after):
    (tmp_path / 'f').write_bytes(before)
    handle = opened(files, tmp_path / 'f', mode)
    files.write(CONTEXT, handle, encoded(b'new'))
    assert (tmp_path / 'f').read_bytes() == after


def test_a_new_file_has_the_permissions_asked_for(files, tmp_path):
    before = os.umask(0o077)
    try:
        opened(files, tmp_path / 'asked', 'w', permissions=0o666)
        opened(files, tmp_path / 'usual', 'w')
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ('asked', 'usual')]
    assert modes == [0o666, 0o600]


def test_exclusive(files, tmp_path):
    opened(files, tmp_path / 'f', 'w', exclusive=True)
    with pytest.raises(errors.InvalidArgument, match=r': File exists$'):
        opened(files, tmp_path / 'f', 'w', exclusive=True)


@pytest.mark.parametrize(
    ('path', 'mode', 'message'),
    [
        ('none', 'r', r"cannot open '.*none': No such file or directory$"),
        ('none/x', 'w', ': No such file or directory$'),
        ('.', 'r', ': Is a directory$'),
        ('.', 'w', ': Is a directory$'),
        ('f', 'q', "invalid file open mode 'q': Invalid argument$"),
        ('f', 'rb+b', 'invalid file open mode'),
    ],
)
def test_what_cannot_be_opened(files, tmp_path, path, mode, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        opened(files, tmp_path / path, mode)
    assert not files.busy()


def test_arguments_out_of_bounds(files, tmp_path):
    handle = opened(files, tmp_path / 'f', 'w+')
    for call in (
        lambda: files.read(CONTEXT, handle, 50331649),
        lambda: files.read(CONTEXT, handle, -1),
        lambda: files.read(CONTEXT, handle, 1, offset=-1),
        lambda: files.write(CONTEXT, handle, 'YQ==', count=2),
        lambda: files.write(CONTEXT, handle, 'Y'),
        lambda: files.write(CONTEXT, handle, 'YQ==\n'),
        lambda: files.seek(CONTEXT, handle, -1),
        lambda: files.seek(CONTEXT, handle, 2**70),
        lambda: files.truncate(CONTEXT, 1),
        lambda: files.close(CONTEXT, handle + 1),
    ):
        with pytest.raises(errors.InvalidArgument, match=r': [A-Z][a-z ]+$'):
            call()


def test_a_pipe_and_a_device_make_nobody_wait(files, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    reads = opened(files, tmp_path / 'pipe')
    assert files.read(CONTEXT, reads)['eof']
    writes = opened(files, tmp_path / 'pipe', 'w')
    assert files.read(CONTEXT, reads) == {'data': '', 'count': 0, 'eof': False}
    big = encoded(bytes(1024 * 1024))
    assert 0 < files.write(CONTEXT, writes, big)['count'] < 1024 * 1024
    assert files.read(CONTEXT, reads, 10)['count'] == 10
    files.flush(CONTEXT, writes)

    zero = opened(files, '/dev/zero')
    assert files.read(CONTEXT, zero, 5 * 1024 * 1024)['count'] == 5 * 1024 * 1024


def test_nobody_uses_the_handle_of_another(files, tmp_path):
    handle = opened(files, tmp_path / 'f', 'w')
    assert files.handles(CONTEXT) == [
        {'handle': handle, 'path': f'{tmp_path}/f', 'mode': 'w'}
    ]
    _check_apart(files, handle, extension.Context('other'))


def test_nor_does_who_claims_a_name_that_another_has_proven(files, tmp_path):
    proven = extension.Context('me', proven=True)
    handle = files.open(proven, f'{tmp_path}/f', 'w')['handle']
    assert files.write(proven, handle, 'YQ==')['count'] == 1
    _check_apart(files, handle, CONTEXT)


def _check_apart(files, handle, other):
    assert files.handles(other) == []
    for call in (
        lambda: files.write(other, handle, 'YQ=='),
        lambda: files.close(other, handle),
        lambda: files.push_part(CONTEXT, handle, 0, 'YQ=='),
    ):
        with pytest.raises(errors.InvalidArgument, match='has not been found'):
            call()


def test_so_many_are_open_and_no_more(make, tmp_path):
    own = make(file_extension.File, 'file', handles_max=2)
    for name in 'ab':
        handle = opened(own, tmp_path / name, 'w')
    with pytest.raises(errors.GuestError, match=r': Too many open files$'):
        opened(own, tmp_path / 'c', 'w')
    assert not (tmp_path / 'c').exists()
    own.close(CONTEXT, handle)
    opened(own, tmp_path / 'c', 'w')
    own.stop()
    assert not own.busy()


def test_what_nobody_uses_is_closed(make, tmp_path):
    own = make(file_extension.File, 'file', handle_idle=0.1)
    used = opened(own, tmp_path / 'f', 'w+')
    opened(own, tmp_path / 'g', 'w')
    assert own.busy()

    def only_used():
        own.read(CONTEXT, used)
        return len(own.handles(CONTEXT)) == 1

    wait_for(only_used)
    wait_for(lambda: not own.busy())
    with pytest.raises(errors.InvalidArgument, match=r'Bad file descriptor$'):
        own.read(CONTEXT, used)
    opened(own, tmp_path / 'f')  # and what is opened later is watched, too
    wait_for(lambda: not own.busy())


def test_a_handle_is_not_closed_under_who_uses_it(files, tmp_path):
    handle = opened(files, tmp_path / 'f', 'w+')
    kind = type(files.table.of(CONTEXT.owner)[0][1])
    with files.table.use(CONTEXT.owner, handle, kind) as held:
        files.close(CONTEXT, handle)
        os.fstat(held.descriptor)
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(held.descriptor)


def test_many_at_once(files, tmp_path):
    failed = []

    def work(number):
        try:
            for _ in range(30):
                handle = opened(files, tmp_path / f'{number}', 'w+')
                files.write(CONTEXT, handle, encoded(b'%d' % number))
                found = files.read(CONTEXT, handle, 9, offset=0)
                assert found['data'] == encoded(b'%d' % number)
                files.close(CONTEXT, handle)
        except (AssertionError, errors.GuestAgentError) as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert not files.busy()
