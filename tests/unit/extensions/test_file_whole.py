# SPDX-License-Identifier: Apache-2.0
"""Whole files: at once, in parts, and on a disk that is full."""

import base64
import concurrent.futures
import errno
import hashlib
import os
import random
import stat
import subprocess

import pytest
from guestagent_file import draft
from guestagent_file import extension as file_extension

from guestagent import errors, extension

CONTEXT = extension.Context('me')
KIB = 1024


@pytest.fixture(params=['unnamed', 'named'])
def files(request, make, monkeypatch):
    """The extension, on file systems with and without files that have no name."""
    if request.param == 'named':

        def opened(path, flags, mode=0o777, *, dir_fd=None):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return os.open(path, flags, mode, dir_fd=dir_fd)

        monkeypatch.setattr(draft, 'os', _Os(opened))
    own = make(file_extension.File, 'file')
    yield own
    own.stop()


class _Os:
    def __init__(self, opened):
        self.open = opened

    def __getattr__(self, name):
        return getattr(os, name)


def encoded(data):
    return base64.b64encode(data).decode()


def put(own, path, data, **arguments):
    return own.put(CONTEXT, str(path), encoded(data), **arguments)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_put_and_get(files, tmp_path):
    assert put(files, tmp_path / 'f', b'\0new\xff') == {'count': 5}
    found = files.get(CONTEXT, f'{tmp_path}/f')
    assert found['data'] == encoded(b'\0new\xff')
    assert (found['size'], found['permissions'], found['type']) == (5, 0o644, 'file')
    with pytest.raises(errors.InvalidArgument, match='more than 4 bytes'):
        files.get(CONTEXT, f'{tmp_path}/f', count=4)


def test_what_is_replaced_keeps_its_permissions_and_owner(files, tmp_path):
    (tmp_path / 'f').write_text('old')
    (tmp_path / 'f').chmod(0o640)
    if os.geteuid() == 0:
        os.chown(tmp_path / 'f', 1, 2)
    before = (tmp_path / 'f').stat()
    (tmp_path / 'link').symlink_to('f')

    put(files, tmp_path / 'link', b'new')
    after = (tmp_path / 'f').stat()
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'f').read_text() == 'new'
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_ino != before.st_ino

    put(files, tmp_path / 'f', b'', permissions=0o4711, modified=10**18)
    assert mode_of(tmp_path / 'f') == 0o4711
    assert (tmp_path / 'f').stat().st_mtime_ns == 10**18


@pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away')
def test_an_owner_by_name_or_number(files, tmp_path):
    put(files, tmp_path / 'f', b'', user='daemon', group=5)
    found = (tmp_path / 'f').stat()
    assert (found.st_uid, found.st_gid) == (1, 5)
    files.chown(CONTEXT, f'{tmp_path}/f', user=3)
    assert ((tmp_path / 'f').stat().st_uid, (tmp_path / 'f').stat().st_gid) == (3, 5)
    with pytest.raises(errors.InvalidArgument, match=r"no user 'nobody-at-all': "):
        put(files, tmp_path / 'f', b'', user='nobody-at-all')


def test_only_plain_files_are_written_and_read_whole(files, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for name, words in (('pipe', 'Invalid argument'), ('.', 'Is a directory')):
        for call in (
            lambda path: put(files, path, b''),
            lambda path: files.get(CONTEXT, str(path)),
            lambda path: files.pull_begin(CONTEXT, str(path)),
            lambda path: files.push_begin(CONTEXT, str(path), 1),
        ):
            with pytest.raises(errors.InvalidArgument, match=f': {words}$'):
                call(tmp_path / name)
    assert os.listdir(tmp_path) == ['pipe']
    assert not files.busy()


def test_a_name_of_any_bytes(files, tmp_path):
    path = f'{tmp_path}/' + os.fsdecode(b'\xff\xfe "\n')
    put(files, path, b'x')
    assert os.listdir(os.fsencode(tmp_path)) == [b'\xff\xfe "\n']
    names = [e['name'] for e in files.list(CONTEXT, str(tmp_path))['entries']]
    assert names == [os.fsdecode(b'\xff\xfe "\n')]
    assert files.get(CONTEXT, path)['size'] == 1


@pytest.fixture
def small(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / 'small'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'small', folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip('nothing can be mounted here')
    yield folder
    subprocess.run(['umount', folder], check=True)


def test_a_full_disk_leaves_the_old_file(files, small):
    put(files, small / 'f', b'old')
    full = r"cannot write '.*f': No space left on device$"
    with pytest.raises(errors.GuestError, match=full):
        put(files, small / 'f', bytes(400 * KIB))
    with pytest.raises(errors.GuestError, match=full):
        files.push_begin(CONTEXT, f'{small}/f', 400 * KIB)

    number = files.push_begin(CONTEXT, f'{small}/f', 200 * KIB)['push']
    (small / 'other').write_bytes(bytes(150 * KIB))
    with pytest.raises(errors.GuestError, match=full):
        files.push_part(CONTEXT, number, 0, encoded(bytes(200 * KIB)))
    files.push_abort(CONTEXT, number)

    (small / 'other').unlink()
    assert (small / 'f').read_bytes() == b'old'
    assert os.listdir(small) == ['f']
    put(files, small / 'f', bytes(200 * KIB))  # there is room again


def parts_of(data, size):
    return [(at, data[at : at + size]) for at in range(0, len(data), size)]


def test_a_push_in_any_order_at_once_and_repeated(files, tmp_path):
    data = random.Random(1).randbytes(300 * KIB + 7)
    begun = files.push_begin(CONTEXT, f'{tmp_path}/f', len(data), permissions=0o600)
    parts = parts_of(data, 8 * KIB) * 2
    random.Random(2).shuffle(parts)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [
            pool.submit(files.push_part, CONTEXT, begun['push'], at, encoded(part))
            for at, part in parts
        ]:
            done.result()
    assert not (tmp_path / 'f').exists()
    digest = hashlib.sha256(data).hexdigest()
    assert files.push_end(CONTEXT, begun['push'], digest) == {
        'size': len(data),
        'sha256': digest,
    }
    assert (tmp_path / 'f').read_bytes() == data
    assert mode_of(tmp_path / 'f') == 0o600
    assert os.listdir(tmp_path) == ['f']
    assert not files.busy()


def test_a_push_that_was_broken_off_goes_on(files, tmp_path):
    def begin(key='k', size=4, context=CONTEXT):
        return files.push_begin(context, f'{tmp_path}/f', size, key=key)

    first = begin()
    files.push_part(CONTEXT, first['push'], 2, encoded(b'cd'))
    assert begin() == {**first, 'have': [[2, 4]]}
    others = [
        begin(key='other'),
        begin(key=''),
        begin(key=''),
        begin(size=5),
        begin(context=extension.Context('other')),
    ]
    assert len({first['push'], *(each['push'] for each in others)}) == 6
    files.push_part(CONTEXT, first['push'], 0, encoded(b'ab'))
    files.push_end(CONTEXT, first['push'])
    assert (tmp_path / 'f').read_bytes() == b'abcd'


def test_a_push_that_is_not_whole_or_not_right(files, tmp_path):
    (tmp_path / 'f').write_text('old')
    number = files.push_begin(CONTEXT, f'{tmp_path}/f', 4)['push']
    files.push_part(CONTEXT, number, 0, encoded(b'ab'))
    with pytest.raises(errors.InvalidArgument, match='missing'):
        files.push_end(CONTEXT, number)
    for at, data in ((3, b'xy'), (-1, b'x')):
        with pytest.raises(errors.InvalidArgument, match='not within 4'):
            files.push_part(CONTEXT, number, at, encoded(data))
    files.push_part(CONTEXT, number, 2, encoded(b'cd'))
    with pytest.raises(errors.InvalidArgument, match='its checksum is'):
        files.push_end(CONTEXT, number, '0' * 64)
    files.push_abort(CONTEXT, number)
    assert (tmp_path / 'f').read_text() == 'old'
    assert os.listdir(tmp_path) == ['f']


def test_an_empty_push(files, tmp_path):
    number = files.push_begin(CONTEXT, f'{tmp_path}/f', 0)['push']
    files.push_end(CONTEXT, number, hashlib.sha256().hexdigest())
    assert (tmp_path / 'f').read_bytes() == b''


def test_what_a_crash_has_left_is_removed_later(make, tmp_path):
    own = make(file_extension.File, 'file', handle_idle=100)
    for name in ('old', 'new'):
        (tmp_path / f'{draft.PREFIX}{name}').write_text('')
    (tmp_path / 'f').write_text('')
    for name in (f'{draft.PREFIX}old', 'f'):
        os.utime(tmp_path / name, (0, 0))
    own.push_begin(CONTEXT, f'{tmp_path}/g', 0)
    own.stop()
    assert sorted(os.listdir(tmp_path)) == [f'{draft.PREFIX}new', 'f']


def test_a_pull_in_any_order(files, tmp_path):
    data = random.Random(3).randbytes(100 * KIB + 3)
    (tmp_path / 'f').write_bytes(data)
    begun = files.pull_begin(CONTEXT, f'{tmp_path}/f')
    assert begun['size'] == len(data)
    found = bytearray(len(data))
    offsets = list(range(8 * KIB, len(data), 8 * KIB))  # the first part never
    random.Random(4).shuffle(offsets)
    for at in offsets:
        part = files.pull_part(CONTEXT, begun['pull'], at, 8 * KIB)
        found[at : at + part['count']] = base64.b64decode(part['data'])
    assert found[8 * KIB :] == data[8 * KIB :]
    assert files.pull_part(CONTEXT, begun['pull'], len(data), 9)['count'] == 0
    assert files.pull_end(CONTEXT, begun['pull']) == {
        'size': len(data),
        'sha256': hashlib.sha256(data).hexdigest(),
    }
    assert not files.busy()


def test_a_file_that_is_changed_while_it_is_pulled(files, tmp_path):
    (tmp_path / 'f').write_text('old')
    first = files.pull_begin(CONTEXT, f'{tmp_path}/f')
    (tmp_path / 'f').write_text('longer')
    assert files.pull_part(CONTEXT, first['pull'], 0, 99)['count'] == 3
    with pytest.raises(errors.GuestError, match='was changed while it was pulled'):
        files.pull_end(CONTEXT, first['pull'])
    assert files.pull_begin(CONTEXT, f'{tmp_path}/f')['version'] != first['version']
