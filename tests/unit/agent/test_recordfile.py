# SPDX-License-Identifier: Apache-2.0
import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent import errors
from guestagent.agent import disk as disks
from guestagent.agent import recordfile, recordformat
from tests import powercut

PATH = '/state/file'

payloads = st.lists(st.binary(max_size=60), max_size=8)


def opened(disk, path=PATH, version=1):
    file = recordfile.RecordFile(str(path), b'test', version, disk)
    return file, file.open()


def read(replay):
    return [payload for _, payload in replay.records]


def written(items):
    """The bytes of a file with these records."""
    disk = powercut.PowerCut()
    file, _ = opened(disk)
    for item in items:
        file.append(item)
    return disk.read(PATH)


class FailingDisk(disks.Disk):
    """Raises ``failure`` where it is told."""

    def __init__(self):
        self.failing = set()
        self.failure = OSError(errno.EIO, os.strerror(errno.EIO))

    def _fail(self, what):
        if what in self.failing:
            raise self.failure

    def write(self, fd, data, offset):
        if 'write' in self.failing:
            super().write(fd, data[: len(data) // 2], offset)
        self._fail('write')
        super().write(fd, data, offset)

    def sync(self, fd):
        self._fail('sync')
        super().sync(fd)

    def sync_folder(self, path):
        self._fail('sync_folder')
        super().sync_folder(path)

    def rename(self, old, new):
        self._fail('rename')
        super().rename(old, new)


@given(payloads)
def test_what_was_appended_is_there_when_it_is_opened_again(items):
    disk = powercut.PowerCut()
    file, _ = opened(disk)
    offsets = [file.append(item) for item in items]
    size = file.size
    file.close()

    again, replay = opened(disk)

    assert replay.records == list(zip(offsets, items, strict=True))
    assert replay.problem() == ''
    assert again.size == size
    assert [again.read(offset) for offset in offsets] == items


@given(payloads, st.data())
def test_a_file_that_is_cut_off_anywhere_keeps_what_is_whole(items, data):
    whole = written(items)
    header = recordformat.HEADER_SIZE
    cut = data.draw(st.integers(header, len(whole)))
    disk = powercut.PowerCut({PATH: whole[:cut]})

    file, replay = opened(disk)
    file.append(b'later')
    file.close()

    kept = read(replay)
    assert kept == items[: len(kept)]
    end = header + sum(len(item) + recordformat.FRAME_SIZE for item in kept)
    assert replay.dropped <= cut - end
    assert read(opened(disk)[1]) == [*kept, b'later']


@given(payloads.filter(bool), st.data())
def test_damage_costs_only_the_records_that_it_hits(items, data):
    whole = bytearray(written(items))
    place = data.draw(st.integers(recordformat.HEADER_SIZE, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    disk = powercut.PowerCut({PATH: bytes(whole)})

    _, replay = opened(disk)

    at, expected = recordformat.HEADER_SIZE, []
    for item in items:
        end = at + recordformat.FRAME_SIZE + len(item)
        if not at <= place < end:
            expected.append(item)
        at = end
    assert read(replay) == expected
    assert replay.problem()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_file_are_set_aside_and_kept(junk):
    disk = powercut.PowerCut({PATH: junk})

    _, replay = opened(disk)

    assert read(replay) == []
    assert replay.set_aside == PATH + '.damaged'
    assert disk.read(PATH + '.damaged') == junk
    assert read(opened(disk)[1]) == []


def test_a_frame_in_a_payload_is_not_found_when_the_record_around_it_is_damaged():
    inner = recordformat.Header(b'test', 1, 0).frame(b'forged')
    whole = bytearray(written([b'first', inner, b'last']))
    place = whole.index(inner) - 5
    whole[place] ^= 1

    _, replay = opened(powercut.PowerCut({PATH: bytes(whole)}))

    assert read(replay) == [b'first', b'last']
    assert replay.gaps == 1
    assert 'damaged' in replay.problem()


@settings(max_examples=300)
@given(st.data())
def test_after_a_power_cut_all_that_was_synced_is_there(data):
    disk = powercut.PowerCut()
    file, _ = opened(disk)
    #: What must be there if the power goes after so many steps, at the least.
    safe = [(len(disk.steps), [])]
    present = []
    for number in range(data.draw(st.integers(1, 8))):
        action = data.draw(st.sampled_from(['append', 'sync', 'rewrite', 'reserve']))
        if action == 'append':
            present.append(b'%d' % number * data.draw(st.integers(0, 30)))
            file.append(present[-1])
        elif action == 'sync':
            file.sync()
            safe.append((len(disk.steps), list(present)))
        elif action == 'reserve':
            file.reserve(40)
        else:
            present = present[1:]
            safe.append((len(disk.steps), None))  # the old or the new, from here on
            file.rewrite(present)
            safe.append((len(disk.steps), list(present)))
    steps = data.draw(st.integers(safe[0][0], len(disk.steps)))

    left = disk.after(steps, lambda: data.draw(st.sampled_from([0, 0.3, 0.5, 1])))
    _, replay = opened(left)

    sure = [what for when, what in safe if when <= steps]
    expected = sure[-1] if sure[-1] is not None else []
    assert replay.set_aside == ''
    found = read(replay)
    assert found[: len(expected)] == expected or sure[-1] is None
    assert set(found) <= {b'%d' % n * k for n in range(8) for k in range(31)}


def test_a_power_cut_in_a_rewrite_leaves_the_old_file_or_the_new_one():
    disk = powercut.PowerCut()
    file, _ = opened(disk)
    for item in (b'one', b'two', b'three'):
        file.append(item)
    file.sync()
    begun = len(disk.steps)

    file.rewrite([b'three'])

    for steps in range(begun, len(disk.steps) + 1):
        for share in (0, 0.5, 1):
            left = disk.after(steps, lambda share=share: share)
            found = read(opened(left)[1])
            assert found in ([b'one', b'two', b'three'], [b'three'])
    assert found == [b'three']


def test_a_full_disk_takes_no_record_and_loses_none():
    disk = powercut.PowerCut()
    file, _ = opened(disk)
    file.append(b'before')
    disk.room = len(disk.read(PATH)) + 20

    with pytest.raises(errors.DiskFull, match='no room for /state/file'):
        file.append(b'x' * 30)
    disk.room = None
    file.append(b'after')
    file.close()

    assert read(opened(disk)[1]) == [b'before', b'after']


def test_what_was_reserved_can_be_written_on_a_full_disk():
    disk = powercut.PowerCut()
    file, _ = opened(disk)
    file.reserve(100)
    disk.room = 0

    with pytest.raises(errors.DiskFull):
        file.append(b'x' * 200)
    file.append(b'x' * (100 - recordformat.FRAME_SIZE))
    with pytest.raises(errors.DiskFull):
        file.reserve(1)
    file.close()

    replay = opened(disk)[1]
    assert read(replay) == [b'x' * (100 - recordformat.FRAME_SIZE)]
    assert replay.problem() == ''


def test_a_failed_sync_is_not_tried_again_but_the_file_can_be_rewritten(tmp_path):
    disk = FailingDisk()
    file, _ = opened(disk, tmp_path / 'file')
    file.append(b'one')
    disk.failing = {'sync'}
    with pytest.raises(errors.StorageError, match='Input/output error'):
        file.sync()
    disk.failing = set()

    with pytest.raises(errors.StorageError, match='not used until it is rewritten'):
        file.sync()
    with pytest.raises(errors.StorageError, match='not used until it is rewritten'):
        file.append(b'two')
    assert file.rewrite([b'one']) == [recordformat.HEADER_SIZE]
    file.append(b'two')
    file.close()

    assert read(opened(disk, tmp_path / 'file')[1]) == [b'one', b'two']


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path):
    disk = FailingDisk()
    file, _ = opened(disk, tmp_path / 'file')
    file.append(b'one')
    disk.failing = {'write'}
    with pytest.raises(errors.StorageError):
        file.append(b'half of this is written')
    disk.failing = set()
    file.append(b'two')
    file.close()

    replay = opened(disk, tmp_path / 'file')[1]
    assert read(replay) == [b'one', b'two']
    assert replay.problem() == ''


@pytest.mark.parametrize('where', ['write', 'sync', 'rename'])
def test_a_rewrite_that_fails_changes_nothing(tmp_path, where):
    disk = FailingDisk()
    file, _ = opened(disk, tmp_path / 'file')
    file.append(b'one')
    descriptors = len(os.listdir('/proc/self/fd'))
    disk.failing = {where}
    with pytest.raises(errors.StorageError):
        file.rewrite([b'other'])
    disk.failing = set()

    assert len(os.listdir('/proc/self/fd')) == descriptors
    file.append(b'two')
    file.close()
    assert read(opened(disk, tmp_path / 'file')[1]) == [b'one', b'two']


def test_a_new_file_whose_name_may_not_last_is_not_trusted(tmp_path):
    disk = FailingDisk()
    file, _ = opened(disk, tmp_path / 'file')
    disk.failing = {'sync_folder'}
    with pytest.raises(errors.StorageError):
        file.rewrite([b'one'])
    with pytest.raises(errors.StorageError, match='rewritten'):
        file.append(b'two')
    disk.failing = set()

    file.rewrite([b'one'])
    file.append(b'two')
    file.close()
    assert read(opened(disk, tmp_path / 'file')[1]) == [b'one', b'two']


def test_a_second_process_is_told_who_has_it(tmp_path):
    file, _ = opened(disks.Disk(), tmp_path / 'file')

    with pytest.raises(errors.StorageHeld, match='is an agent with the same folder'):
        opened(disks.Disk(), tmp_path / 'file')

    file.close()
    opened(disks.Disk(), tmp_path / 'file')[0].close()


def test_a_file_of_a_later_version_is_left_alone(tmp_path):
    path = tmp_path / 'file'
    opened(disks.Disk(), path, version=2)[0].close()
    before = path.read_bytes()

    with pytest.raises(errors.StorageTooNew, match='has the format 2'):
        opened(disks.Disk(), path, version=1)

    assert path.read_bytes() == before


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    path = str(tmp_path / 'file')
    other = recordfile.RecordFile(path, b'other', 1)
    other.open()
    other.close()

    with pytest.raises(
        errors.StorageError, match="is a file of 'other', not of 'test'"
    ):
        opened(disks.Disk(), path)


@pytest.mark.parametrize(
    ('number', 'kind', 'words'),
    [
        (errno.ENOSPC, errors.DiskFull, 'no room'),
        (errno.EFBIG, errors.DiskFull, 'no room'),
        (errno.EROFS, errors.StorageError, 'read-only file system'),
        (errno.EACCES, errors.StorageError, 'may not be written by user'),
        (errno.EIO, errors.StorageError, 'Input/output error'),
    ],
)
def test_a_fault_of_the_disk_is_explained(number, kind, words):
    error = disks.explain(OSError(number, os.strerror(number)), '/state/file')

    assert type(error) is kind
    assert words in str(error)
    assert '/state/file' in str(error)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(errors.StorageError, match='nowhere/file: No such file'):
        opened(disks.Disk(), tmp_path / 'nowhere' / 'file')


def test_a_record_that_is_too_large_is_the_callers_mistake(tmp_path):
    file, _ = opened(disks.Disk(), tmp_path / 'file')
    with pytest.raises(ValueError, match='at most'):
        file.append(bytes(recordformat.PAYLOAD_MAX + 1))
    file.close()
