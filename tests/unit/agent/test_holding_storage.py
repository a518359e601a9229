# SPDX-License-Identifier: Apache-2.0
"""When the agent keeps off its disk, for whom, and what becomes of its log."""

import io
import logging
import os
import pathlib
import tempfile
import threading
import time

import pytest

from guestagent import errors
from guestagent import loop as loops
from guestagent.agent.holding import gate, logbook, merging, places, storage

ROOM = 4 * 1024 * 1024


class Keeper:
    """A storage in a folder of the disk, with an area in memory."""

    def __init__(self, state, memory):
        self.state, self.memory = state, memory
        self.loop = loops.Loop()
        self.storage = self.make()

    def make(self):
        return storage.Storage(str(self.state), self.memory, ROOM, self.loop)

    def device(self):
        return places.device(str(self.state))


@pytest.fixture
def keeper(tmp_path):
    with tempfile.TemporaryDirectory(dir='/dev/shm') as memory:
        if places.device(memory) == places.device(str(tmp_path)):
            pytest.skip('/dev/shm is on the same file system as the temporary files')
        made = Keeper(tmp_path, f'{memory}/held')
        yield made
        made.storage.release('test')
        made.loop.close()


def wait(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_is_held_while_somebody_says_so(keeper):
    made = keeper.storage
    assert made.hold('test', [keeper.device()], 60)
    assert made.hold('other', [keeper.device()], 60)
    fd = made.disk.create(str(keeper.state / 'file'))
    made.disk.write(fd, b'text', 0)
    [area] = pathlib.Path(keeper.memory).iterdir()
    assert area.stat().st_mode & 0o777 == 0o700
    made.release('test')
    assert made.disk.held
    assert not (keeper.state / 'file').exists()
    made.release('nobody')
    made.release('other')
    wait(lambda: not made.disk.held)
    assert (keeper.state / 'file').read_bytes() == b'text'
    wait(lambda: not os.listdir(keeper.memory))


def test_a_device_that_has_nothing_of_the_agent_is_noted_only(keeper):
    made = keeper.storage
    assert not made.hold('test', ['7:99'], 60)
    assert not made.disk.held
    assert made.holders == ['test']
    again = keeper.make()
    again.open()
    assert again.holders == ['test']
    assert not again.disk.held
    made.release('test')
    wait(lambda: not os.listdir(keeper.memory))


def test_an_area_that_would_be_frozen_too_is_refused(tmp_path):
    made = storage.Storage(str(tmp_path), str(tmp_path / 'area'), ROOM, loops.Loop())
    with pytest.raises(errors.StorageError, match=r'\[freeze\] folder'):
        made.hold('test', [places.device(str(tmp_path))], 60)
    assert not made.disk.held
    assert os.listdir(tmp_path / 'area') == []


def test_an_area_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / 'file').touch()
    area = str(tmp_path / 'file/area')
    made = storage.Storage(str(tmp_path), area, ROOM, loops.Loop())
    with pytest.raises(errors.StorageError, match='Not a directory'):
        made.hold('test', ['0:1'], 60)
    assert made.holders == []


def test_an_agent_that_starts_anew_goes_on_holding(keeper):
    keeper.storage.hold('test', [keeper.device()], 60)
    fd = keeper.storage.disk.create(str(keeper.state / 'file'))
    keeper.storage.disk.write(fd, b'text', 0)

    again = keeper.make()
    again.open()
    assert again.disk.held
    assert again.holders == ['test']
    assert again.disk.read(str(keeper.state / 'file')) == b'text'
    again.release('test')
    wait(lambda: (keeper.state / 'file').exists())
    wait(lambda: not os.listdir(keeper.memory))
    keeper.storage = again


def test_what_is_left_from_before_is_merged_though_nobody_holds(keeper):
    keeper.storage.hold('test', [keeper.device()], 60)
    fd = keeper.storage.disk.create(str(keeper.state / 'file'))
    keeper.storage.disk.write(fd, b'text', 0)
    (area,) = pathlib.Path(keeper.memory).iterdir()
    (area / 'holds').unlink()

    again = keeper.make()
    again.open()
    wait(lambda: (keeper.state / 'file').exists())
    assert (keeper.state / 'file').read_bytes() == b'text'
    keeper.storage = again


def test_it_is_over_when_nobody_says_that_it_is(keeper, monkeypatch):
    monkeypatch.setattr(storage, 'MARGIN', 0.0)
    keeper.storage.hold('test', [keeper.device()], 0.05)
    until = time.monotonic() + 30
    while keeper.storage.disk.held:
        assert time.monotonic() < until
        keeper.loop.run_once(0.01)
    assert keeper.storage.holders == []


def test_a_merge_that_fails_is_tried_again(keeper, monkeypatch):
    monkeypatch.setattr(storage, 'RETRY', 0.01)
    made = keeper.storage
    made.hold('test', [keeper.device()], 60)
    fd = made.disk.create(str(keeper.state / 'file'))
    made.disk.write(fd, b'text', 0)
    failures = iter([True, True])

    def copy(self):
        if next(failures, False):
            raise OSError(5, 'Input/output error')

    monkeypatch.setattr(merging.Merging, 'copy', copy)
    made.release('test')
    assert made.disk.held
    until = time.monotonic() + 30
    while made.disk.held:
        assert time.monotonic() < until
        keeper.loop.run_once(0.01)
    assert (keeper.state / 'file').read_bytes() == b'text'


def test_a_log_that_would_be_frozen_waits_in_the_area(keeper):
    root = logging.getLogger()
    before, path = root.handlers[:], keeper.state / 'log'
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
    root.handlers[:] = [handler]
    try:
        logging.error('before')
        keeper.storage.hold('test', [keeper.device()], 60)
        logging.error('meanwhile')
        assert path.read_text() == 'ERROR before\n'
        keeper.storage.release('test')
        wait(lambda: not keeper.storage.disk.held)
        logging.error('after')
        wait(lambda: 'ERROR after\n' in path.read_text())
    finally:
        root.handlers[:] = before
        handler.close()
    lines = path.read_text().splitlines()
    assert lines[:2] == ['ERROR before', 'ERROR meanwhile']


def test_lines_that_do_not_fit_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(logbook, 'SIZE_MAX', 100)
    root = logging.getLogger()
    before = root.handlers[:]
    stream = io.StringIO()
    root.handlers[:] = [logging.StreamHandler(stream)]
    try:
        book = logbook.Logbook(str(tmp_path / 'log'))
        for _ in range(5):
            logging.error('x' * 40)
        assert book.end() == 3
        assert stream.getvalue() == f'{"x" * 40}\n' * 2
    finally:
        root.handlers[:] = before
    assert not (tmp_path / 'log').exists()


def test_who_must_be_alone_waits_no_longer_than_it_may():
    made = gate.Gate()
    with made:
        found = []

        def alone():
            try:
                with made.alone(0.01):
                    found.append('alone')
            except TimeoutError:
                found.append('not alone')

        thread = threading.Thread(target=alone)
        thread.start()
        thread.join()
    assert found == ['not alone']
    with made.alone(1):
        pass
