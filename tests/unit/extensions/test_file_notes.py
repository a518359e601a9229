# SPDX-License-Identifier: Apache-2.0
"""What the audit log is told of files, besides the arguments of commands."""

import base64
import hashlib

import pytest
from guestagent_file import extension as file_extension

from guestagent import errors, extension, testing

CONTEXT = extension.Context('me', 'c-1', proven=True)
DATA = b'one' * 100


class Host(testing.Host):
    full = False

    def record_note(self, extension, method, context, about, needed):
        if needed and self.full:
            raise errors.StorageError('the disk is full')
        super().record_note(extension, method, context, about, needed)


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def files(make):
    own = make(file_extension.File, 'file')
    yield own
    own.stop()


def push(files, path):
    number = files.push_begin(CONTEXT, str(path), len(DATA))['push']
    files.push_part(CONTEXT, number, 0, base64.b64encode(DATA).decode())
    return number


def test_a_pushed_file_by_its_path_and_checksum(files, host, tmp_path):
    number = push(files, tmp_path / 'file')
    assert host.notes == []

    files.push_end(CONTEXT, number)

    about = {
        'path': str(tmp_path / 'file'),
        'size': len(DATA),
        'sha256': hashlib.sha256(DATA).hexdigest(),
    }
    assert host.notes == [('file.push_end', CONTEXT, about)]


def test_what_cannot_be_noted_does_not_take_its_place(files, host, tmp_path):
    number = push(files, tmp_path / 'file')
    host.full = True
    with pytest.raises(errors.StorageError):
        files.push_end(CONTEXT, number)
    assert list(tmp_path.iterdir()) == []

    host.full = False
    files.push_end(CONTEXT, number)
    assert (tmp_path / 'file').read_bytes() == DATA


def test_the_handle_of_a_file_that_may_be_written(files, host, tmp_path):
    written = files.open(CONTEXT, str(tmp_path / 'file'), 'wb')
    files.open(CONTEXT, str(tmp_path / 'file'), 'rb')
    assert host.notes == [('file.open', CONTEXT, written)]
