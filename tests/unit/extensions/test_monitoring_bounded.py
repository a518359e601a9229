# SPDX-License-Identifier: Apache-2.0
"""What may never answer is asked on a thread, and not asked again while it hangs."""

import os
import threading
import types

import pytest
from guestagent_monitoring import bounded
from guestagent_monitoring.collectors import filesystems

from devstack import processes


class Things:
    """Some answer, some fail, and those in ``hanging`` wait until :attr:`go`."""

    def __init__(self, *hanging):
        self.hanging = hanging
        self.go = threading.Event()
        self.asked = []

    def __call__(self, thing):
        self.asked.append(thing)
        if thing in self.hanging:
            self.go.wait(60)
        if thing == 'gone':
            raise FileNotFoundError(2, 'No such file or directory')
        return thing.upper()


@pytest.fixture
def things():
    made = Things('hangs', 'hangs too')
    yield made
    made.go.set()


def test_answers_come_in_any_case():
    asker = bounded.Asker(Things(), 30)

    assert asker.ask(['a', 'gone', 'b']) == {'a': 'A', 'b': 'B'}
    assert asker.ask([]) == {}


def test_what_hangs_keeps_nobody_from_being_asked(things, caplog):
    asker = bounded.Asker(things, 0.5)

    found = asker.ask(['a', 'hangs', 'b', 'hangs too'])

    assert found == {'a': 'A', 'b': 'B'}
    assert things.asked == ['a', 'hangs', 'b', 'hangs too']
    assert 'hangs does not answer' in caplog.text


def test_what_hangs_costs_one_thread_until_it_answers(things):
    asker = bounded.Asker(things, 0.5)
    asker.ask(['hangs'])
    before = threading.active_count()

    for _ in range(5):
        assert asker.ask(['hangs', 'a']) == {'a': 'A'}

    assert things.asked.count('hangs') == 1
    assert threading.active_count() <= before
    things.go.set()
    processes.wait_for(lambda: asker.ask(['hangs']), 'an answer after all')


def test_a_filesystem_that_hangs_is_named_without_figures(things, tree, monkeypatch):
    def statvfs(path):
        things(path)
        return types.SimpleNamespace(f_frsize=1, f_blocks=9, f_bfree=5, f_bavail=4)

    things.hanging = ('/hangs',)
    monkeypatch.setattr(os, 'statvfs', statvfs)
    monkeypatch.setattr(
        filesystems, '_STATVFS', bounded.Asker(filesystems._statvfs, 0.5)
    )
    root = tree(
        {
            'proc/filesystems': '\text4\n',
            'proc/self/mountinfo': ''.join(
                f'2{n} 1 253:{n} / {point} rw - ext4 /dev/vd{n} rw\n'
                for n, point in enumerate(('/a', '/hangs', '/z'))
            ),
        }
    )

    found = filesystems.filesystems(root)

    assert [item['total'] for item in found] == [9, None, 9]
