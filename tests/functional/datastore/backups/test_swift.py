# SPDX-License-Identifier: Apache-2.0
"""The storage ``swift`` on a real Swift."""

import hashlib
import http.client
import json
import os
import pathlib
import re
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from guestagent_datastore.backups import manager, parts, targets
from guestagent_datastore.storage import base

from devstack import processes
from guestagent import errors, extension
from tests.functional import proxy
from tests.functional.datastore.backups import conftest as places
from tests.unit.extensions import datastore_standin as standin

pytestmark = pytest.mark.functional

MIB = 1024**2


def fill(storage: base.Storage, name: str, data: bytes) -> base.Stored:
    writer = storage.create(name)
    for at in range(0, len(data), 300_000):
        writer.write(data[at : at + 300_000])
    return writer.finish({'lsn': '17', 'parent_location': 'http://x/v1/a/c/o'})


def ask(
    place: places.Place,
    method: str,
    name: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b'',
    query: str = '',
) -> tuple[http.client.HTTPResponse, bytes]:
    """Do what Trove's own client does."""
    url = urllib.parse.urlsplit(place.target.url)
    line = http.client.HTTPConnection(url.netloc, timeout=60)
    line.request(
        method,
        f'{url.path}/{place.target.container}/{name}{query}',
        body,
        {'X-Auth-Token': place.target.token, **(headers or {})},
    )
    answer = line.getresponse()
    data = answer.read()
    line.close()
    assert answer.status < 300, (answer.status, data)
    return answer, data


@pytest.mark.parametrize('size', [1, MIB - 1, MIB, 3 * MIB, 3 * MIB + 5])
def test_what_was_written_is_read(swift: places.Place, size: int) -> None:
    data = os.urandom(size)
    stored = fill(swift.storage(), 'b1.tar.zst', data)
    assert stored.size == size
    assert stored.location == f'{swift.target.url}/{swift.target.container}/b1.tar.zst'
    found = swift.storage().describe(stored.location, stored.checksum)
    assert found.metadata == stored.metadata
    assert b''.join(swift.storage().read(found)) == data
    swift.storage().delete(stored.location)
    assert swift.names() == []


def test_trove_finds_what_it_expects(swift: places.Place) -> None:
    """The names, the checksum and the kind of object are those of Trove's own agent."""
    data = os.urandom(2 * MIB + 7)
    stored = fill(swift.storage(), 'b1.xbstream.gz', data)
    assert swift.names() == [
        'b1.xbstream.gz',
        'b1_00000000',
        'b1_00000001',
        'b1_00000002',
    ]
    answer, _ = ask(swift, 'HEAD', 'b1.xbstream.gz')
    assert answer.headers['etag'].strip('"') == stored.checksum
    assert len(stored.checksum) == 32
    assert answer.headers['x-static-large-object'] == 'True'
    assert answer.headers['x-object-meta-lsn'] == '17'
    assert answer.headers['x-object-meta-parent-location'] == 'http://x/v1/a/c/o'
    # So it deletes a backup.
    ask(swift, 'DELETE', 'b1.xbstream.gz', query='?multipart-manifest=delete')
    assert swift.names() == []


def test_what_trove_has_written_is_read(swift: places.Place) -> None:
    """Its agent makes a large object of many segments, and a plain one of one."""
    storage = swift.storage()
    storage.put('x', b'', {})
    location = f'{swift.target.url}/{swift.target.container}'
    plain = os.urandom(100_000)
    ask(swift, 'PUT', 'small.xbstream.gz', {'X-Object-Meta-lsn': '5'}, plain)
    checksum = hashlib.md5(plain, usedforsecurity=False).hexdigest()
    found = storage.describe(f'{location}/small.xbstream.gz', checksum)
    assert found.metadata == {'lsn': '5'}
    assert b''.join(storage.read(found)) == plain

    manifest = []
    for number, piece in enumerate((plain, plain[:500])):
        ask(swift, 'PUT', f'large_{number:08d}', None, piece)
        manifest.append(
            {
                'path': f'{swift.target.container}/large_{number:08d}',
                'etag': hashlib.md5(piece, usedforsecurity=False).hexdigest(),
                'size_bytes': len(piece),
            }
        )
    ask(
        swift,
        'PUT',
        'large.xbstream.gz',
        None,
        json.dumps(manifest).encode(),
        '?multipart-manifest=put',
    )
    sums = ''.join(str(each['etag']) for each in manifest)
    checksum = hashlib.md5(sums.encode(), usedforsecurity=False).hexdigest()
    found = storage.describe(f'{location}/large.xbstream.gz', checksum)
    assert b''.join(storage.read(found)) == plain + plain[:500]


def test_an_aborted_object_leaves_nothing(swift: places.Place) -> None:
    writer = swift.storage().create('b1.tar')
    writer.write(os.urandom(2 * MIB + 500))
    assert swift.names() == ['b1_00000000', 'b1_00000001']
    writer.abort()
    assert swift.names() == []


def test_more_segments_than_swift_takes_are_told_at_once(swift: places.Place) -> None:
    writer = swift.storage(segment_size=1).create('b1.tar')
    # Of the tests' Swift; it says so itself.
    writer.write(b'x' * 20)
    with pytest.raises(errors.StorageError, match=r'20 segments.*backup_segment_size'):
        writer.write(b'x')
    writer.abort()
    assert swift.names() == []


def test_what_a_crash_left_is_swept(swift: places.Place) -> None:
    storage = swift.storage()
    whole = fill(storage, 'b2.tar', b'x' * 10)
    swift.storage().create('b1.tar').write(os.urandom(2 * MIB + 500))
    assert storage.sweep('b1.tar') == 2
    assert storage.sweep('b2.tar') == 0
    assert b''.join(storage.read(storage.describe(whole.location))) == b'x' * 10


def test_one_that_is_there_stays(swift: places.Place) -> None:
    fill(swift.storage(), 'b1.tar', b'x' * 10)
    with pytest.raises(errors.StorageError, match='there already'):
        swift.storage().create('b1.tar')


def test_what_was_changed_is_refused(swift: places.Place) -> None:
    data = os.urandom(2 * MIB)
    storage = swift.storage()
    stored = fill(storage, 'b1.tar', data)
    ask(swift, 'PUT', 'b1_00000001', None, bytes(MIB))
    with pytest.raises(errors.StorageError):
        list(storage.read(storage.describe(stored.location, stored.checksum)))
    storage.delete(stored.location)
    stored = fill(storage, 'b1.tar', data)
    other = fill(storage, 'b2.tar', data[::-1])
    with pytest.raises(errors.StorageError, match='another object'):
        storage.describe(other.location, stored.checksum)
    with pytest.raises(errors.StorageError, match='no such object'):
        storage.describe(stored.location.replace('b1', 'b3'))


def test_a_wrong_token_is_told_and_not_shown(swift: places.Place) -> None:
    storage = swift.storage(token='hunter2-token')
    with pytest.raises(errors.StorageError, match=r'401.*the token') as caught:
        storage.create('b1.tar')
    assert 'hunter2' not in str(caught.value)
    with pytest.raises(errors.InvalidArgument, match='needs a token'):
        swift.storage(token='')


def test_a_location_does_not_say_where_the_token_goes(swift: places.Place) -> None:
    stored = fill(swift.storage(), 'b1.tar', b'x' * 10)
    elsewhere = stored.location.replace('127.0.0.1', 'attacker.invalid')
    assert swift.storage().describe(elsewhere).checksum == stored.checksum


def test_nobody_there_is_told(swift: places.Place) -> None:
    port = processes.free_port()
    url = swift.target.url.replace(f':{swift.server.port}/', f':{port}/')
    with pytest.raises(errors.StorageError, match=r'PUT /test-\d+: .*refused'):
        swift.storage(url=url).create('b1.tar')
    with pytest.raises(errors.InvalidArgument, match='no http: or https: URL'):
        swift.storage(url='ftp://x')


def test_logs_are_published(swift: places.Place, tmp_path: pathlib.Path) -> None:
    log = tmp_path / 'error.log'
    log.write_bytes(b'one\ntwo\n')
    request = {
        'action': 'publish',
        'limit': 5,
        'keep': 1000,
        'logs': [
            {'name': 'error', 'kind': 'SYS', 'path': str(log), 'prefix': 'vm/db-error'}
        ],
    }
    parts.handle(swift.storage(), request)
    with log.open('ab') as more:
        more.write(b'three\n')
    [shown] = parts.handle(swift.storage(), request)
    assert (shown['published'], shown['pending']) == (14, 0)
    names = swift.storage().names('vm/db-error/')
    data = b''.join(swift.storage().get(name) or b'' for name in names)
    assert data == b'one\ntwo\nthree\n'
    answer, _ = ask(swift, 'HEAD', names[0])
    assert answer.headers['x-object-meta-lines'] == '1'
    assert answer.headers['x-delete-at']
    [shown] = parts.handle(swift.storage(), {**request, 'action': 'discard'})
    assert (shown['published'], shown['pending']) == (0, 14)
    assert swift.names() == []


class Guest:
    """A guest that makes backups in Swift, with a proxy between."""

    def __init__(
        self, folder: pathlib.Path, swift: places.Place, between: proxy.Proxy
    ) -> None:
        self.conf = standin.options(backup_storage='swift', backup_segment_size=MIB)
        self.folder = folder
        self.manager = manager.Manager(self.conf, folder / 'state')
        self.engine = standin.StandIn(folder)
        self.context = extension.Context('me', 'command-1')
        self.target = targets.make(self.conf, '', swift.given(between.port), '')
        self._swift = swift

    def back_up(self, backup_id: str) -> Any:
        return self.manager.create(
            self.engine, backup_id, None, self.target, '', self.context
        )

    def restore(self, made: Any) -> None:
        links = self.manager.chain(
            self.engine, made['location'], made['checksum'], self.target, self.context
        )
        self.manager.restore(self.engine, links, self.target, '', self.context)

    def back_up_and_cut(self, cut: Callable[[], None]) -> str:
        """Make a backup that would never end; return how it failed."""
        self.engine.writes = 'while openssl rand 300000; do sleep 0.02; done'

        def wait() -> None:
            processes.wait_for(lambda: len(self._swift.names()) >= 2, 'segments')
            cut()

        cutter = threading.Thread(target=wait)
        cutter.start()
        with pytest.raises(errors.StorageError) as caught:
            self.back_up('b1')
        cutter.join()
        assert self.engine.closed == 1
        self.engine.writes = f'openssl rand {MIB + 5} | tee {self.folder}/in'
        self.engine.reads = f'cat > {self.folder}/out'
        return str(caught.value)

    def check(self) -> None:
        """See that a backup can be made and restored."""
        made = self.back_up('b2')
        self.restore(made)
        assert (self.folder / 'in').read_bytes() == (self.folder / 'out').read_bytes()
        assert self._swift.names() == ['b2.tar.zst', 'b2_00000000', 'b2_00000001']


def test_a_connection_that_is_cut_half_way(
    swift: places.Place, tmp_path: pathlib.Path
) -> None:
    with proxy.Proxy(swift.server.port) as between:
        guest = Guest(tmp_path, swift, between)

        def cut() -> None:
            # In the midst of a segment, not between two of them.
            between.reset_next = True

        said = guest.back_up_and_cut(cut)
        assert re.match(r'PUT /test-\d+/b1_0000000\d: no answer: ', said)
        assert swift.names() == []
        guest.check()


def test_a_storage_that_goes_half_way_and_comes_back(
    swift: places.Place, tmp_path: pathlib.Path
) -> None:
    with proxy.Proxy(swift.server.port) as between:
        guest = Guest(tmp_path, swift, between)

        def cut() -> None:
            between.target = processes.free_port()
            between.reset()

        assert 'parts of it are left' in guest.back_up_and_cut(cut)
        assert swift.names() != []
        between.target = swift.server.port
        guest.check()


def test_a_storage_that_goes_while_it_is_read(
    swift: places.Place, tmp_path: pathlib.Path
) -> None:
    with proxy.Proxy(swift.server.port) as between:
        guest = Guest(tmp_path, swift, between)
        guest.engine.writes = f'openssl rand {4 * MIB}'
        made = guest.back_up('b1')
        between.budget, between.cut = 2 * MIB, True
        # It says so in the file if it sees the end of its input.
        guest.engine.reads = f'cat >/dev/null; echo whole > {tmp_path}/end'
        with pytest.raises(errors.StorageError, match=r'GET .*b1'):
            guest.restore(made)
        assert not guest.engine.finished
        assert not (tmp_path / 'end').exists()
