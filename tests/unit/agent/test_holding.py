# SPDX-License-Identifier: Apache-2.0
"""What is written to a disk that may be frozen, and comes to it later."""

import os
import pathlib
import tempfile
import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guestagent import errors
from guestagent.agent import disk as disks
from guestagent.agent import recordfile
from guestagent.agent.audit import chain, files
from guestagent.agent.holding import disk, merging, overlay

ROOM = 4 * 1024 * 1024


class Guest:
    """A file of records in a folder, whose disk may be frozen; and who uses it."""

    def __init__(self, folder, room=ROOM):
        self.state, self.area = folder / 'state', folder / 'area'
        self.room = room
        for path in (self.state, self.area):
            path.mkdir(exist_ok=True)
        self.start()

    def start(self):
        self.disk = disk.Disk()
        if os.listdir(self.area):
            self.disk.hold(self.overlay)
        self.file = self.make('journal')
        self.found = [payload for _, payload in self.file.open().records]

    def make(self, name):
        return recordfile.RecordFile(str(self.state / name), b'test', 1, self.disk)

    def overlay(self):
        return overlay.Overlay(str(self.area), str(self.state), self.room)

    def hold(self):
        self.disk.hold(self.overlay)

    def kill(self):
        """Forget all that no system call has taken; nobody closes anything."""
        os.close(self.file._lock)

    def restart(self):
        self.kill()
        self.start()

    def records(self):
        """Return what the real disk has."""
        found = recordfile.RecordFile(str(self.state / 'journal'), b'test', 1)
        with open(found.path, 'rb') as file:
            data = file.read()
        parser = recordfile.recordformat.Parser(data)
        return [payload for _, payload in parser]

    def append(self, *payloads):
        places = [self.file.append(payload) for payload in payloads]
        self.file.sync()
        return places


@pytest.fixture
def guest(tmp_path):
    return Guest(tmp_path)


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_while_held_the_real_files_are_as_they_were(guest):
    first = guest.append(b'before')
    guest.hold()
    before = snapshot(guest.state)

    places_ = guest.append(b'one', b'two')
    guest.file.reserve(4096)
    guest.file.rewrite([b'before', b'one', b'two'])
    guest.append(b'three')
    other = guest.make('spool')
    assert other.open().records == []
    other.append(b'x')

    assert snapshot(guest.state) == before
    assert len(first + places_) == 3
    guest.disk.release()
    assert guest.records() == [b'before', b'one', b'two', b'three']
    assert sorted(snapshot(guest.state)) == ['journal', 'journal.lock', 'spool']
    assert os.listdir(guest.area) == ['spool.lock.beside']


def test_records_are_read_where_they_were_written(guest):
    old = guest.append(b'before')
    guest.hold()
    new = guest.append(b'meanwhile')
    assert [guest.file.read(place) for place in old + new] == [b'before', b'meanwhile']
    guest.disk.release()
    later = guest.append(b'after')
    assert [guest.file.read(place) for place in old + new + later] == [
        b'before',
        b'meanwhile',
        b'after',
    ]


def test_a_killed_agent_finds_in_the_area_what_it_had_written(guest):
    guest.append(b'before')
    guest.hold()
    guest.append(b'one')
    guest.restart()
    assert guest.found == [b'before', b'one']
    guest.append(b'two')
    guest.restart()
    assert guest.found == [b'before', b'one', b'two']
    assert guest.records() == [b'before']
    guest.disk.release()
    assert guest.records() == [b'before', b'one', b'two']


def test_what_was_cut_off_by_the_kill_is_dropped(guest):
    guest.hold()
    guest.append(b'one', b'two')
    path = guest.area / 'journal'
    os.truncate(path, path.stat().st_size - 2)
    guest.restart()
    assert guest.found == [b'one']
    guest.append(b'three')
    guest.disk.release()
    assert guest.records() == [b'one', b'three']


@pytest.mark.parametrize('step', range(8))
def test_a_merge_that_is_cut_short_is_done_again(guest, monkeypatch, step):
    guest.append(b'before')
    guest.hold()
    guest.append(b'one')
    other = guest.make('spool')
    other.open()
    other.append(b'new')
    calls = iter(range(100))

    def fail(function):
        def call(*args, **kwargs):
            if next(calls) == step:
                raise OSError(5, 'Input/output error')
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ('pwrite', 'fdatasync', 'rename', 'ftruncate'):
            patch.setattr(merging.os, name, fail(getattr(os, name)))
        with pytest.raises(OSError, match='Input/output'):
            guest.disk.release()
    # As before: it goes on, and may be tried again, by this agent or by another.
    guest.append(b'two')
    if step % 2:
        os.close(other._lock)
        guest.restart()
        assert guest.found == [b'before', b'one', b'two']
    guest.disk.release()
    assert guest.records() == [b'before', b'one', b'two']
    assert (guest.state / 'spool').exists()
    guest.append(b'three')
    assert guest.records() == [b'before', b'one', b'two', b'three']
    assert not [name for name in os.listdir(guest.state) if 'merged' in name]


def test_an_area_that_is_full_refuses_and_says_so(tmp_path):
    guest = Guest(tmp_path, room=4096)
    guest.hold()
    guest.append(b'x' * 3000)
    with pytest.raises(errors.DiskFull, match=r'frozen, and the area .* is full'):
        guest.append(b'y' * 2000)
    with pytest.raises(errors.DiskFull):
        guest.file.reserve(2000)
    guest.append(b'z')
    guest.disk.release()
    guest.append(b'y' * 2000)
    assert guest.records() == [b'x' * 3000, b'z', b'y' * 2000]


def test_what_is_urgent_has_room_of_its_own(tmp_path):
    guest = Guest(tmp_path, room=4096)
    guest.hold()
    guest.append(b'x' * 4000)
    done = []

    def thaw():
        disks.URGENCY.urgent = True
        done.append(guest.append(b'y' * 2000))

    thread = threading.Thread(target=thaw)
    thread.start()
    thread.join()
    assert done
    with pytest.raises(errors.DiskFull):
        guest.append(b'z' * 2000)


def test_room_that_was_reserved_is_there_while_it_is_held(tmp_path):
    guest = Guest(tmp_path, room=8192)
    guest.file.reserve(5000)
    guest.hold()
    other = guest.make('other')
    other.open()
    with pytest.raises(errors.DiskFull):
        other.append(b'x' * 4000)
    guest.append(b'x' * 4900)
    guest.disk.release()
    assert guest.records() == [b'x' * 4900]


def test_it_is_not_held_where_the_room_that_was_promised_is_not_there(tmp_path):
    guest = Guest(tmp_path, room=4096)
    guest.file.reserve(5000)
    with pytest.raises(disks.AreaFull):
        guest.hold()
    assert not guest.disk.held
    assert os.listdir(guest.area) == []
    guest.append(b'x')
    assert guest.records() == [b'x']


def test_a_disk_that_fails_at_the_last_moment_is_not_believed_later(guest, monkeypatch):
    guest.file.append(b'x')

    def fail(fd):
        raise OSError(5, 'Input/output error')

    with monkeypatch.context() as patch:
        patch.setattr(disks.os, 'fdatasync', fail)
        with pytest.raises(OSError, match='Input/output'):
            guest.hold()
    with pytest.raises(errors.StorageError):
        guest.file.sync()
    guest.file.rewrite([b'x'])
    guest.append(b'y')
    assert guest.records() == [b'x', b'y']


def test_writers_go_on_while_it_is_held_and_merged(guest):
    written, stop = [], threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            payload = b'%d' % number
            guest.append(payload)
            written.append(payload)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20):
            count = len(written)
            guest.hold()
            deadline = time.monotonic() + 30
            while len(written) < count + 20 and time.monotonic() < deadline:
                time.sleep(0.001)
            guest.disk.release()
    finally:
        stop.set()
        thread.join()
    assert guest.records() == written
    assert len(written) >= 400


class Life(RuleBasedStateMachine):
    """A file of records, whose disk is frozen and whose agent is killed at random."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.guest = Guest(pathlib.Path(self.folder.name))
        self.model = []

    @rule(data=st.binary(max_size=300))
    def append(self, data):
        self.guest.append(data)
        self.model.append(data)

    @rule(size=st.integers(1, 3000))
    def reserve(self, size):
        self.guest.file.reserve(size)

    @rule(keep=st.integers(0, 5))
    def rewrite(self, keep):
        self.model = self.model[-keep:] if keep else []
        self.guest.file.rewrite(self.model)

    @rule()
    def hold(self):
        if not self.guest.disk.held:
            self.guest.hold()

    @rule()
    def release(self):
        self.guest.disk.release()
        assert self.guest.records() == self.model

    @rule()
    def kill(self):
        self.guest.restart()
        assert self.guest.found == self.model

    @rule()
    def copy_a_part(self):
        if self.guest.disk.held:
            with merging.Merging(self.guest.disk._overlay) as merge:
                merge.copy()

    @invariant()
    def size(self):
        assert self.guest.disk.held or self.guest.records() == self.model

    def teardown(self):
        self.guest.disk.release()
        assert self.guest.records() == self.model
        self.guest.file.close()
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_a_file_that_was_being_replaced_when_it_was_held(guest):
    guest.append(b'old')
    new = guest.file.replacement()
    new.append(b'one')
    guest.hold()
    before = snapshot(guest.state)
    new.append(b'two')
    guest.file.replace(new)
    guest.append(b'three')
    assert snapshot(guest.state) == before
    guest.restart()
    assert guest.found == [b'one', b'two', b'three']
    guest.disk.release()
    assert guest.records() == [b'one', b'two', b'three']


def test_a_file_that_was_being_replaced_when_it_was_released(guest):
    guest.append(b'old')
    guest.hold()
    new = guest.file.replacement()
    new.append(b'one')
    guest.disk.release()
    new.append(b'two')
    guest.file.replace(new)
    guest.append(b'three')
    assert guest.records() == [b'one', b'two', b'three']
    guest.restart()
    assert guest.found == [b'one', b'two', b'three']


def test_the_audit_log_goes_on_and_is_not_rotated(tmp_path):
    guest = Guest(tmp_path)
    path = str(guest.state / 'audit.log')
    log = files.Files(path, 4096, guest.disk)
    log.open()
    log.append([{'kind': 'x', 'text': 'y' * 300} for _ in range(2)])
    guest.hold()
    for _ in range(10):
        log.append([{'kind': 'x', 'text': 'z' * 300}])
        log.syncer()()
    assert len(list(chain.follow(log.lines(0)))) == 13
    log.close()
    again = files.Files(path, 4096, guest.disk)
    again.open()
    assert again.head == log.head
    guest.disk.release()
    again.append([{'kind': 'x'}])
    assert os.path.exists(f'{path}.1')
    assert len(list(chain.follow(again.lines(0)))) == 15
