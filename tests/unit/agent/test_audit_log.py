# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import time

import pytest

from guestagent import errors
from guestagent import loop as loops
from guestagent.agent import disk, pool
from guestagent.agent.audit import chain, files, log


class FullDisk(disk.Disk):
    """One that may be full, or fail to sync."""

    full = False
    failing = False
    syncs = 0

    def write(self, fd, data, offset):
        if self.full:
            super().write(fd, data[:10], offset)
            raise OSError(errno.ENOSPC, 'No space left on device')
        super().write(fd, data, offset)

    def sync(self, fd):
        self.syncs += 1
        if self.failing:
            raise OSError(errno.EIO, 'Input/output error')
        super().sync(fd)


class Bench:
    """A log in a folder, and the loop that it needs."""

    def __init__(self, folder, size=10**6, required=True):
        self.path = folder / 'audit.log'
        self.disk = FullDisk()
        self.loop = loops.Loop()
        self.told = []
        self.files = files.Files(str(self.path), size, self.disk)
        self.log = log.Log(
            self.files,
            self.loop,
            pool.Pool(2, 2),
            required,
            lambda name, data: self.told.append((name, data)),
        )

    def records(self, offset=0):
        return [record.values for record in self.follow(offset)]

    def follow(self, offset=0):
        return list(chain.follow(self.files.lines(offset)))

    def wait(self, condition):
        until = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < until, 'it did not come about'
            self.loop.run_once(0.01)


@pytest.fixture
def make(tmp_path):
    made = []

    def bench(**options):
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield bench
    for one in made:
        one.loop.close()


def kinds(records):
    return [record['kind'] for record in records]


def test_a_log_goes_on_after_a_restart(make):
    first = make()
    first.log.open()
    first.log.require([{'kind': 'allowed'}])
    first.log.close()
    second = make()
    second.log.open()

    assert kinds(second.records()) == ['begin', 'start', 'allowed', 'start']
    assert second.log.synced.length == 4
    assert first.path.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_left_half_written_is_cut_off(make):
    first = make()
    first.log.open()
    first.log.close()
    with first.path.open('ab') as file:
        file.write(b'{"n":3,"at":')

    second = make()
    second.log.open()

    assert kinds(second.records()) == ['begin', 'start', 'start']


def test_an_end_that_makes_no_sense_begins_another_file(make, caplog):
    first = make()
    first.log.open()
    first.log.close()
    first.path.write_text('nonsense\n')

    second = make()
    second.log.open()

    assert kinds(second.records()) == ['begin', 'start']
    assert 'makes no sense' in caplog.text
    assert first.path.with_name('audit.log.damaged').read_text() == 'nonsense\n'


@pytest.mark.parametrize('left', [None, b'', b'{"n":'])
def test_a_crash_while_a_file_begins_loses_nothing(make, left):
    first = make()
    first.log.open()
    first.log.close()
    first.path.rename(first.path.with_name('audit.log.1'))
    if left is not None:
        first.path.write_bytes(left)

    second = make()
    second.log.open()

    assert kinds(second.records()) == ['begin', 'start', 'begin', 'start']


def test_the_oldest_go_and_the_rest_can_be_followed(make):
    bench = make(size=8000)
    bench.log.open()
    for number in range(200):
        bench.log.record([{'kind': 'x', 'number': number}])

    found = bench.follow()

    assert found[0].values['kind'] == 'begin'
    assert found[0].head.length > 100
    assert found[-1].head == bench.files.head
    assert found[-1].values['number'] == 199
    taken = sum(path.stat().st_size for path in bench.path.parent.iterdir())
    assert 4000 < taken < 10000
    late = [
        json.loads(line)['number'] for line in bench.files.lines(found[-3].head.length)
    ]
    assert late == [198, 199]


def test_pages(make):
    bench = make()
    bench.log.open()
    for number in range(60):
        bench.log.record([{'kind': 'x', 'text': str(number) * 5000}])
    lines, offset, pages = [], 0, 0
    while offset is not None:
        page = bench.log.page(offset)
        lines += page['lines']
        offset, pages = page['next'], pages + 1

    assert pages > 1
    assert lines == list(bench.files.lines(0))
    assert bench.log.page(10**6) == {'lines': [], 'next': None}


def test_one_sync_serves_all_and_only_then_the_head_is_told(make, monkeypatch):
    monkeypatch.setattr(log, 'SYNC_DELAY', 0.05)
    bench = make()
    bench.log.open()
    syncs, before = bench.disk.syncs, bench.log.synced
    for _ in range(50):
        bench.log.require([{'kind': 'allowed'}])
    assert bench.log.synced == before

    bench.wait(lambda: bench.log.synced == bench.files.head)

    assert 1 <= bench.disk.syncs - syncs <= 2
    bench.log.sync()
    assert bench.disk.syncs - syncs <= 2


def test_a_sync_that_failed_is_tried_again(make, monkeypatch, caplog):
    monkeypatch.setattr(log, 'SYNC_DELAY', 0.05)
    bench = make()
    bench.log.open()
    bench.disk.failing, before = True, bench.log.synced
    bench.log.record([{'kind': 'x'}])
    bench.wait(lambda: 'Input/output error' in caplog.text)
    assert bench.log.synced == before

    bench.disk.failing = False

    bench.wait(lambda: bench.log.synced == bench.files.head)


def test_a_restart_tells_of_nothing_that_the_disk_may_not_have(make):
    first = make()
    first.log.open()
    first.log.record([{'kind': 'x'}])
    first.files.close()  # killed before it was synced
    second = make()
    second.disk.failing = True

    second.log.open()

    assert second.log.synced == chain.Head()


def test_a_full_disk_stops_what_must_be_recorded(make):
    bench = make()
    bench.log.open()
    bench.disk.full = True

    for _ in range(3):
        with pytest.raises(errors.DiskFull):
            bench.log.require([{'kind': 'allowed'}])
    bench.log.record([{'kind': 'outcome'}])

    assert [name for name, _ in bench.told] == ['audit-fails']
    bench.disk.full = False
    bench.log.require([{'kind': 'allowed'}])
    assert bench.told[1] == ('audit-works', {'lost': 4})
    assert kinds(bench.records()) == ['begin', 'start', 'lost', 'allowed']
    assert bench.records()[2]['records'] == 4


def test_a_full_disk_need_not_stop_anything(make):
    bench = make(required=False)
    bench.disk.full = True
    bench.log.open()

    bench.log.require([{'kind': 'allowed'}])
    bench.disk.full = False
    bench.log.require([{'kind': 'allowed'}])

    assert kinds(bench.records()) == ['begin', 'lost', 'allowed']


def test_a_full_disk_at_the_start(make):
    bench = make()
    bench.disk.full = True

    with pytest.raises(errors.DiskFull):
        bench.log.open()


def test_a_flood_of_refusals_does_not_push_out_the_rest(make, monkeypatch):
    monkeypatch.setattr(log, 'REFUSALS_SECONDS', 1)
    bench = make()
    bench.log.open()
    for number in range(1000):
        bench.log.refuse({'kind': 'refused', 'number': number})

    bench.wait(lambda: any('more' in record for record in bench.records()))

    found = bench.records()[2:]
    assert len(found) <= log.REFUSALS + 1
    assert sum(record.get('more', 1) for record in found) == 1000


def test_a_log_that_was_removed_is_not_there(make):
    bench = make()
    bench.log.open()
    os.unlink(bench.path)

    assert bench.log.page(0) == {'lines': [], 'next': None}


def test_lines_are_json(make):
    bench = make()
    bench.log.open()
    bench.log.record([{'kind': 'x', 'text': 'a\nb\u2028\ud800'}])

    lines = bench.path.read_text().splitlines()

    assert len(lines) == 3
    assert json.loads(lines[2])['text'] == 'a\nb\u2028\ud800'
