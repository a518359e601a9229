# SPDX-License-Identifier: Apache-2.0
"""The spool's disk side, on real files and on a disk that fails."""

import errno
import json
import os

import pytest

from guestagent import errors
from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import spool as spools
from guestagent.agent import spoolfile, spooling

OWNER = {'instance': 'vm', 'machine': '', 'generation': ''}


class Disk(disks.Disk):
    """One that fills up, and one that cannot sync."""

    def __init__(self):
        self.full_for = ()
        self.failing = False
        self.syncs = 0

    def write(self, fd, data, offset):
        if any(word in data for word in self.full_for):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(fd, data, offset)

    def allocate(self, fd, offset, size):
        if self.full_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, offset, size)

    def sync(self, fd):
        self.syncs += 1
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)


@pytest.fixture
def loop(monkeypatch):
    monkeypatch.setattr(spooling, 'SAVE_DELAY', 0.002)
    monkeypatch.setattr(spooling, 'GONE_DELAY', 0.002)
    monkeypatch.setattr(spooling, 'RETRY_DELAY', 0.01)
    made = loops.Loop()
    yield made
    made.close()


@pytest.fixture
def start(loop, tmp_path):
    """``start(disk, owner)``: a spool and its keeper, on the same file each time."""

    def start(disk=None, owner=OWNER, count=1000):
        spool = spools.Spool(count, 16_000_000)
        keeper = spooling.Keeper(loop, spool, lambda: None)
        keeper.start(spoolfile.SpoolFile(str(tmp_path / 'spool'), disk), owner)
        return spool, keeper

    return start


def until(loop, condition):
    for _ in range(1000):
        if condition():
            return
        loop.run_once(0.03)
    raise AssertionError('it did not come true')


def add(spool, keeper, *numbers, kind=spools.EVENT):
    for number in numbers:
        spool.add(kind, {'n': number})
    keeper.look()


def send(spool, keeper):
    """Take all that waits, and return what it says."""
    found = []
    while (report := spool.take()) is not None:
        found.append((report.kind, json.loads(keeper.text(report))['n']))
        spool.confirmed(report)
    keeper.look()
    return found


def test_what_was_killed_is_there_in_order(loop, start):
    # Given a keeper that is never closed
    spool, keeper = start()
    add(spool, keeper, *range(5))
    add(spool, keeper, 'o', kind=spools.OUTCOME)
    until(loop, lambda: not spool.unsaved and not keeper.busy)
    spool.confirmed(spool.take())
    spool.confirmed(spool.take())
    keeper.look()
    until(loop, lambda: not spool.gone and not keeper.busy)
    keeper._file.close()

    again, keeper = start()

    assert send(again, keeper) == [('event', number) for number in range(1, 5)]
    keeper.close()
    assert start()[0].held == 0


def test_what_was_too_many_stays_counted(loop, start):
    spool, keeper = start(count=2)
    add(spool, keeper, *range(5))
    keeper.close()
    assert spool.dropped == 3

    again, keeper = start(count=1)
    assert again.dropped == 4
    assert send(again, keeper) == [('event', 4)]
    keeper.close()


def test_a_full_disk_takes_outcomes_as_long_as_it_can(loop, start, caplog):
    disk = Disk()
    spool, keeper = start(disk)
    add(spool, keeper, 1)
    until(loop, lambda: not spool.unsaved and not keeper.busy)
    disk.full_for = (b' event\n',)

    add(spool, keeper, 2, 3)
    add(spool, keeper, 'o', kind=spools.OUTCOME)
    until(loop, lambda: keeper.problem and not keeper.busy)

    assert [report.kind for report in spool.saved.values()] == ['event', 'outcome']
    assert keeper.unsaved == 2
    assert 'there is no room' in keeper.problem
    assert 'reports wait in memory only' in caplog.text

    # Once there is room, all is on the disk.
    disk.full_for = ()
    until(loop, lambda: not keeper.problem)
    assert (keeper.unsaved, len(spool.saved)) == (0, 4)
    keeper.close()
    again, keeper = start()
    assert send(again, keeper) == [
        ('outcome', 'o'),
        ('event', 1),
        ('event', 2),
        ('event', 3),
    ]
    keeper.close()


def test_nothing_is_believed_of_a_disk_that_does_not_sync(loop, start):
    disk = Disk()
    spool, keeper = start(disk)
    kept = []
    disk.failing = True
    spool.add(spools.OUTCOME, {'n': 'o'}, lambda: kept.append('o'))
    keeper.look()
    until(loop, lambda: keeper.problem and not keeper.busy)
    assert (keeper.unsaved, kept) == (1, [])

    disk.failing = False
    until(loop, lambda: not keeper.problem)
    assert kept == ['o']
    keeper.close()
    again, keeper = start()
    assert send(again, keeper) == [('outcome', 'o')]
    keeper.close()


def test_without_a_disk_reports_wait_in_memory(loop, start, tmp_path):
    (tmp_path / 'spool').mkdir()
    spool, keeper = start()
    add(spool, keeper, 1, 2)

    assert keeper.unsaved == 2
    assert send(spool, keeper) == [('event', 1), ('event', 2)]
    keeper.close()


def test_one_sync_for_what_came_together(loop, start):
    disk = Disk()
    spool, keeper = start(disk)
    until(loop, lambda: not keeper.busy and keeper._owned)
    before = disk.syncs
    add(spool, keeper, *range(100))
    until(loop, lambda: not spool.unsaved and not keeper.busy)

    assert disk.syncs == before + 1
    keeper.close()


def test_the_file_does_not_grow_for_ever(loop, start, tmp_path, monkeypatch):
    monkeypatch.setattr(spooling, 'WASTE_MAX', 10_000)
    spool, keeper = start()
    for number in range(20):
        spool.add(spools.EVENT, {'n': number, 'x': 'x' * 2000})
        keeper.look()
        until(loop, lambda: not spool.unsaved and not keeper.busy)
        if number % 5:
            spool.confirmed(spool.take())
            keeper.look()
            until(loop, lambda: not spool.gone and not keeper.busy)
    assert keeper._file.size < 30_000

    left = [report.number for report in spool.saved.values()]
    assert len(left) == 4
    keeper.close()
    again, keeper = start()
    assert len(send(again, keeper)) == 4
    keeper.close()


def test_a_damaged_file_costs_what_was_damaged(loop, start, tmp_path, caplog):
    spool, keeper = start()
    add(spool, keeper, 1, 2, 3)
    keeper.close()
    path = tmp_path / 'spool'
    content = bytearray(path.read_bytes())
    at = content.index(b'{"n": 2}')
    content[at] ^= 1
    path.write_bytes(content)

    again, keeper = start()

    assert 'the spool is damaged, reports may be lost' in caplog.text
    assert send(again, keeper) == [('event', 1), ('event', 3)]
    keeper.close()


def test_a_record_that_rots_while_it_waits_is_an_error_of_its_own(
    loop, start, tmp_path
):
    spool, keeper = start()
    add(spool, keeper, 1)
    until(loop, lambda: not spool.unsaved and not keeper.busy)
    path = tmp_path / 'spool'
    content = bytearray(path.read_bytes())
    content[content.index(b'{"n": 1}')] ^= 1
    path.write_bytes(content)

    with pytest.raises(errors.StorageError, match='damaged'):
        keeper.text(spool.take())
    keeper.close()
