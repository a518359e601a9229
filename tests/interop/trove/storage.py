# SPDX-License-Identifier: Apache-2.0
"""Backups and logs under Trove: in a real Swift, and one that goes half-way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from devstack import swift as swifts
from tests.functional import proxy
from tests.interop.trove import backups, guests

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

NewGuest = Callable[..., guests.Guest]

CONTAINER = 'database_backups'
#: Nothing of this gets smaller, so that a backup has several segments.
MUCH = (
    'create table shop.much (b longblob); '
    'insert into shop.much select random_bytes(1024) from shop.seq_1_to_3000'
)
#: Of its bytes: there are two segments by then.
HALF = 5 * 2**19
ACTION = {'enable': False, 'disable': False, 'publish': False, 'discard': False}


def objects(guest: guests.Guest) -> list[str]:
    """Return the objects of all backups in Swift."""
    assert guest.swift is not None
    return guest.swift.names(CONTAINER)


def delete(guest: guests.Guest, row: backups.Row) -> None:
    """Delete a backup as Trove does."""
    guest.plane.ask('delete_backup', backup=row.id, values=guest.context())


def test_an_incremental_backup_follows_its_parent(guest: guests.Guest) -> None:
    full = backups.wait(guest, backups.begin(guest))
    assert full.state == 'COMPLETED'
    row = backups.wait(guest, backups.begin(guest, full))
    assert (row.state, row.kind) == ('COMPLETED', 'incremental')
    # Trove's own agent unpacks nothing else.
    assert str(row.location).endswith('.gz')
    guest.wait(lambda: guest.has_ended('dbaas.backup_create.end'), 'the notification')


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
def test_backups_in_swift_are_restored_and_deleted(
    guest: guests.Guest, new_guest: NewGuest
) -> None:
    before = objects(guest)
    guest.query('create table shop.kept (n int)')
    guest.query('insert into shop.kept values (1)')
    full = backups.wait(guest, backups.begin(guest))
    guest.query('insert into shop.kept values (2)')
    row = backups.wait(guest, backups.begin(guest, full))
    guest.query('insert into shop.kept values (3)')
    # Trove looks at this before it lets a user restore a backup.
    for one in (full, row):
        found = guest.plane.ask('find_backup', backup=one.id, values=guest.context())
        assert found is True

    other = new_guest(swift=guest.swift)
    other.prepare(backup_info=backups.restored_from(guest, row))
    other.start()
    other.wait_status('healthy')
    assert other.query('select n from shop.kept order by n') == ['1', '2']

    delete(guest, row)
    delete(guest, full)
    assert objects(guest) == before
    guest.query('drop table shop.kept')


def test_logs(guest: guests.Guest) -> None:
    found = {one['name']: one for one in guest.call('guest_log_list')}
    assert found['general']['status'] == 'Disabled'
    enable, publish = {**ACTION, 'enable': True}, {**ACTION, 'publish': True}
    guest.call('guest_log_action', log_name='general', **enable)
    guest.query(';'.join(f"select 'a line, number {one:04d}'" for one in range(200)))
    published = guest.call('guest_log_action', log_name='general', **publish)
    assert published['published'] > 8000
    assert published['prefix'] == f'{guest.id}/mariadb-general/'
    first = parts(guest, published)
    assert len(first) > 2
    guest.query("select 'the last line of it'")
    published = guest.call('guest_log_action', log_name='general', **publish)
    assert len(parts(guest, published)) > len(first)
    text = read(guest, published)
    assert [one for one in range(200) if f'number {one:04d}' not in text] == []
    assert 'the last line of it' in text

    discard = {**ACTION, 'disable': True, 'discard': True}
    discarded = guest.call('guest_log_action', log_name='general', **discard)
    assert (discarded['published'], discarded['status']) == (0, 'Disabled')
    assert parts(guest, published) == []


def parts(guest: guests.Guest, log: dict[str, str]) -> list[str]:
    """Return the objects of a log."""
    if guest.swift is not None:
        names = guest.swift.names(log['container'])
        return [name for name in names if name.startswith(log['prefix'])]
    folder = guest.plane.folder / 'backups' / log['container'] / log['prefix']
    return sorted(str(path) for path in folder.glob('log-*[0-9]'))


def read(guest: guests.Guest, log: dict[str, str]) -> str:
    """Return what is published of a log, by Trove's own client where that can."""
    if guest.swift is not None:
        text: str = guest.plane.ask('read_log', log=log, values=guest.context())
        return text
    return ''.join(open(path).read() for path in parts(guest, log))


@pytest.fixture
def between(guest: guests.Guest, swift_server: swifts.Swift) -> Iterator[proxy.Proxy]:
    """The way to Swift, which can be closed half-way."""
    assert guest.swift is not None
    with proxy.Proxy(swift_server.port) as made:
        guest.swift.port = made.port
        try:
            yield made
        finally:
            guest.swift.port = swift_server.port


def kill_proxy(swift: swifts.Swift) -> Callable[[], None]:
    swift.kill('proxy')
    return lambda: swift.start('proxy')


def fill(swift: swifts.Swift) -> Callable[[], None]:
    """What keeps the objects is killed, and full when it comes back."""
    swift.limit('100%')
    return lambda: swift.limit('0')


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
@pytest.mark.parametrize('cut', [kill_proxy, fill])
def test_a_storage_that_goes_half_way(
    guest: guests.Guest,
    swift_server: swifts.Swift,
    between: proxy.Proxy,
    cut: Callable[[swifts.Swift], Callable[[], None]],
) -> None:
    before = objects(guest)
    if not guest.query("show tables in shop like 'much'"):
        guest.query(MUCH)
    between.gate = between.sent + HALF
    backup = backups.begin(guest)
    guest.wait(lambda: len(objects(guest)) > len(before) + 1, 'some segments')
    mend = cut(swift_server)
    between.gate = None
    try:
        row = backups.wait(guest, backup)
    finally:
        mend()

    assert row.state == 'FAILED'
    guest.wait(lambda: ended(guest, backup), 'the notification')
    assert guest.query('select count(*) from shop.much') == ['3000']
    assert guest.status() == 'healthy'
    # The next one removes what could not be removed then.
    row = backups.wait(guest, backups.begin(guest))
    assert row.state == 'COMPLETED'
    delete(guest, row)
    assert objects(guest) == before


def ended(guest: guests.Guest, backup: str) -> bool:
    """Whether Trove has told that a backup has failed."""
    return any(
        one['event_type'] == 'dbaas.backup_create.error'
        and one['payload']['backup_id'] == backup
        for one in guest.plane.notifications()
    )
