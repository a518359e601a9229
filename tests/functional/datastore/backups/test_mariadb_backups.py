# SPDX-License-Identifier: Apache-2.0
"""Backups of a real MariaDB server, by the commands that callers have."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests
from tests.functional.datastore.backups import conftest as places

pytestmark = pytest.mark.functional


class Writer:
    """Writes rows into ``shop.rows_`` while it is entered, one after the other.

    :ivar last: the number of the last row that the server has taken.
    """

    def __init__(self, guest: guests.Guest) -> None:
        self._guest = guest
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.last = guest.query('SELECT COALESCE(MAX(number), 0) FROM shop.rows_')[0][0]

    def __enter__(self) -> Writer:
        self._thread.start()
        first = self.last
        processes.wait_for(lambda: self.last > first + 10, 'rows are written')
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._end.is_set():
            row = self.last + 1
            self._guest.query('INSERT INTO shop.rows_ VALUES (%s, %s)', row, 'x' * 500)
            self.last = row


@pytest.fixture
def guest(
    mariadb: guests.Guest, folder: pathlib.Path, tmp_path: pathlib.Path
) -> Iterator[guests.Guest]:
    """A guest with an empty database; its agent encrypts what it stores in a folder."""
    keys = tmp_path / 'keys'
    keys.write_text(os.urandom(32).hex())
    keys.chmod(0o600)
    mariadb.stop()
    mariadb.options |= {
        'backup_storage': 'file',
        'backup_folder': str(folder),
        'backup_key_file': str(keys),
    }
    mariadb.start()
    mariadb.query('CREATE OR REPLACE DATABASE shop')
    mariadb.query('CREATE TABLE shop.rows_ (number INT PRIMARY KEY, text TEXT)')
    yield mariadb
    for name in ('backup_storage', 'backup_folder', 'backup_key_file'):
        del mariadb.options[name]


def rows(guest: guests.Guest) -> list[int]:
    return [row[0] for row in guest.query('SELECT number FROM shop.rows_ ORDER BY 1')]


def left(guest: guests.Guest, folder: pathlib.Path) -> list[str]:
    """What is in the storage, in the notes of the agent, and on the volume beside the
    data."""
    found = [path.name for path in folder.rglob('*') if path.is_file()]
    found += [path.name for path in (guest.folder / 'state').glob('backups/*')]
    return found + [
        path.name for path in (guest.folder / 'volume').glob('guestagent-work-*')
    ]


def test_rows_written_meanwhile_are_restored_in_order(
    guest: guests.Guest, folder: pathlib.Path
) -> None:
    with Writer(guest) as writer:
        before = writer.last
        full = guest.call('backup_create', backup_id='full')
        between = writer.last
        part = guest.call('backup_create', backup_id='part', parent=full)
    last = writer.last
    assert (full['type'], part['type']) == ('full', 'incremental')
    assert part['parent'] == full['location']
    assert full['size'] < full['stream_size']
    guest.query('DROP DATABASE shop')

    guest.call('backup_restore', location=full['location'], checksum=full['checksum'])
    restored = rows(guest)
    assert restored == list(range(1, restored[-1] + 1)), 'all, none between is missing'
    assert before <= restored[-1] <= between

    guest.call('backup_restore', location=part['location'], checksum=part['checksum'])
    restored = rows(guest)
    assert restored == list(range(1, restored[-1] + 1))
    assert between <= restored[-1] <= last
    assert guest.call('status')['state'] == 'healthy'
    assert sorted(left(guest, folder)) == [
        'full.mbstream.zst.sealed',
        'full.mbstream.zst.sealed.json',
        'part.mbstream.zst.sealed',
        'part.mbstream.zst.sealed.json',
    ]


def test_a_backup_that_is_not_there_changes_nothing(guest: guests.Guest) -> None:
    guest.query("INSERT INTO shop.rows_ VALUES (1, '')")
    made = guest.call('backup_create', backup_id='b1')
    for wrong in (
        {'location': made['location'].replace('b1', 'b2')},
        {'location': made['location'], 'checksum': 'ab' * 32},
    ):
        with pytest.raises(errors.StorageError):
            guest.call('backup_restore', **wrong)
    assert rows(guest) == [1]
    guest.call('backup_delete', location=made['location'])
    with pytest.raises(errors.StorageError):
        guest.call('backup_restore', location=made['location'])
    assert rows(guest) == [1]


def test_a_changed_backup_leaves_no_half_of_it(
    guest: guests.Guest, folder: pathlib.Path
) -> None:
    made = guest.call('backup_create', backup_id='b1')
    path = folder / 'database_backups' / 'b1.mbstream.zst.sealed'
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.StorageError, match='damaged'):
        guest.call('backup_restore', location=made['location'])
    assert guest.call('status')['state'] == 'healthy'
    assert rows(guest) == []


def test_swift_keeps_backups(guest: guests.Guest, swift: places.Place) -> None:
    guest.query("INSERT INTO shop.rows_ VALUES (1, 'x')")
    where: dict[str, Any] = {'storage': 'swift', 'target': swift.given()}
    made = guest.call('backup_create', backup_id='b1', **where)
    assert len(made['checksum']) == 32
    assert swift.names() == ['b1.mbstream.zst.sealed', 'b1_00000000']
    guest.query('DROP DATABASE shop')
    guest.call(
        'backup_restore', location=made['location'], checksum=made['checksum'], **where
    )
    assert rows(guest) == [1]


def store_as_trove(
    guest: guests.Guest, swift: places.Place, name: str, parent: dict[str, str] | None
) -> dict[str, str]:
    """Make a backup as Trove's own agent does: what follows it has to know.

    It streams the same tool through gzip into a plain object, if it is small.
    """
    assert guest.made is not None
    work = guest.folder / 'work'
    work.mkdir()
    with guest.made.engine.backup(parent, work) as backup:
        done = subprocess.run(
            [*backup.command.argv], cwd=work, capture_output=True, check=True
        )
        known = {'datastore': 'mariadb', 'lsn': backup.metadata()['lsn']}
    work.rmdir()
    if parent is not None:
        known['parent_location'] = parent['location']
        known['parent_checksum'] = parent['checksum']
    data = gzip.compress(done.stdout)
    swift.storage().put(f'{name}.xbstream.gz', data, known)
    return {
        **known,
        'location': f'{swift.target.url}/{swift.target.container}/{name}.xbstream.gz',
        'checksum': hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }


def test_what_troves_own_agent_has_stored_is_restored(
    guest: guests.Guest, swift: places.Place
) -> None:
    guest.query("INSERT INTO shop.rows_ VALUES (1, 'x')")
    made = store_as_trove(guest, swift, 'b1', None)
    guest.query("INSERT INTO shop.rows_ VALUES (2, 'x')")
    made = store_as_trove(guest, swift, 'b2', made)
    guest.query('DROP DATABASE shop')
    guest.call(
        'backup_restore',
        location=made['location'],
        checksum=made['checksum'],
        storage='swift',
        target=swift.given(),
    )
    assert rows(guest) == [1, 2]


def test_swift_keeps_logs(guest: guests.Guest, swift: places.Place) -> None:
    where: dict[str, Any] = {
        'storage': 'swift',
        'target': swift.given(),
        'prefix': 'vm-1/mariadb-',
    }
    [log] = [log for log in guest.call('log_show', **where) if log['name'] == 'error']
    assert log['pending'] == log['size'] > 0
    shown = guest.call('log_publish', name='error', **where)
    assert shown['published'] >= log['size']
    assert shown['prefix'] == 'vm-1/mariadb-error/'
    stored = swift.storage().get(swift.storage().names(shown['prefix'])[0]) or b''
    assert b'ready for connections' in stored
    shown = guest.call('log_discard', name='error', **where)
    assert shown['published'] == 0
    assert swift.names() == []
    with pytest.raises(errors.InvalidArgument, match="'nothing' is not one of"):
        guest.call('log_publish', name='nothing', **where)


@contextlib.contextmanager
def small_volume(megabytes: int) -> Iterator[pathlib.Path]:
    """Give a folder with little room."""
    folder = tempfile.mkdtemp(prefix='guestagent-small-')
    options = f'size={megabytes}m,mode=755'
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', options, 'none', folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        os.rmdir(folder)
        pytest.skip(f'nothing can be mounted here: {done.stderr.strip()}')
    try:
        yield pathlib.Path(folder)
    finally:
        subprocess.run(['umount', folder], check=True)
        os.rmdir(folder)


def test_a_full_disk_is_told_and_emptied(
    guest: guests.Guest, folder: pathlib.Path
) -> None:
    made = guest.call('backup_create', backup_id='b1')
    with small_volume(8) as volume:
        other = guests.make_guest('mariadb')
        try:
            other.stop()
            other.options |= {
                **guest.options,
                **{name: other.options[name] for name in other.options},
                'mount_point': str(volume),
            }
            other.start()
            with pytest.raises(errors.DiskFull, match='No space left on device'):
                other.call('backup_restore', location=made['location'])
            assert other.call('status')['state'] == 'new'
            assert not any((volume / 'data').iterdir())
        finally:
            other.remove()


#: An agent that runs one command on the guest of a test.
AGENT = """
import json, sys
from guestagent import testing
from guestagent_datastore import extension

method, options, arguments = map(json.loads, sys.argv[1:])
with testing.started(extension.Datastore, name='datastore', options=options) as made:
    testing.call(made, method, **arguments)
"""


@contextlib.contextmanager
def another_agent(
    guest: guests.Guest, method: str, **arguments: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Have an agent of its own process run a command in the place of the test's."""
    guest.stop()
    words = [json.dumps(each) for each in (method, guest.options, arguments)]
    agent = subprocess.Popen(
        [sys.executable, '-c', AGENT, *words], stderr=subprocess.DEVNULL
    )
    try:
        yield agent
    finally:
        agent.kill()
        agent.wait()
        guest.start()


def test_an_agent_that_is_killed_while_it_backs_up(
    guest: guests.Guest, folder: pathlib.Path
) -> None:
    for number in range(1, 4):
        guest.query('INSERT INTO shop.rows_ VALUES (%s, %s)', number, 'x' * 500)
    with another_agent(guest, 'backup_create', backup_id='b1') as agent:
        part = folder / 'database_backups' / 'b1.mbstream.zst.sealed.part'
        processes.wait_for(lambda: part.exists(), 'the backup has begun', spacing=0.001)
        agent.send_signal(signal.SIGKILL)
        processes.wait_for(lambda: not part.exists(), 'what was stored is removed')
    assert guest.made is not None
    guest.made.tidy()  # type: ignore[attr-defined]
    assert left(guest, folder) == []
    [told] = [
        data for name, data in guest.host.events if name == 'datastore.backup_failed'
    ]
    assert told['backup_id'] == 'b1'
    guest.call('backup_create', backup_id='b1')
    assert rows(guest) == [1, 2, 3]


def test_an_agent_that_is_killed_while_it_restores(
    guest: guests.Guest, folder: pathlib.Path
) -> None:
    made = guest.call('backup_create', backup_id='b1')
    data = guest.folder / 'volume' / 'data'
    guest.call('server_stop')
    subprocess.run(['rm', '-r', data], check=True)
    with another_agent(guest, 'backup_restore', location=made['location']) as agent:
        processes.wait_for(
            lambda: data.exists() and any(data.iterdir()), 'it has begun', spacing=0.001
        )
        agent.send_signal(signal.SIGKILL)
    assert guest.made is not None
    guest.made.watch()  # type: ignore[attr-defined]
    status = guest.call('status')
    assert status['interrupted']['operation'] == 'backup_restore'
    assert 'not whole, and was deleted' in status['interrupted']['found']
    assert status['state'] == 'new'
    guest.call('backup_restore', location=made['location'])
    assert rows(guest) == []
