# SPDX-License-Identifier: Apache-2.0
"""Logs of a real MariaDB server, and TLS as its clients see it."""

from __future__ import annotations

import ssl
import time
from typing import Any

import pymysql
import pytest
from guestagent_datastore import certificates

from devstack import processes
from guestagent import errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional

PASSWORD = 'hunter2 of ann'


@pytest.fixture(scope='module', autouse=True)
def ann(mariadb: guests.Guest) -> None:
    mariadb.call('user_create', users=[{'name': 'ann', 'password': PASSWORD}])


def cipher(guest: guests.Guest, ca: str | None = None) -> str:
    """Come in as a client; return the cipher, ``''`` without TLS.

    :param ca: what must have signed the server's certificate.
    """
    words: dict[str, Any] = {'ssl_disabled': True}
    if ca is not None:
        context = ssl.create_default_context(cadata=ca)
        context.check_hostname = False
        words = {'ssl': context}
    with (
        pymysql.connect(
            host='127.0.0.1', port=guest.port, user='ann', password=PASSWORD, **words
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        ((_name, value),) = cursor.fetchall()
    return str(value)


def test_logs_are_switched_at_once_and_stay_so(mariadb: guests.Guest) -> None:
    def logs() -> dict[str, dict[str, Any]]:
        return {log['name']: log for log in mariadb.call('log_list')}

    assert [log['kind'] for log in logs().values()] == ['SYS', 'USER', 'USER']
    assert not logs()['general']['enabled']
    assert mariadb.call('log_enable', name='general') == {'restart_required': False}
    mariadb.query("SELECT 'meanwhile'")
    path = mariadb.folder / 'log' / 'general.log'
    assert "SELECT 'meanwhile'" in path.read_text()
    # That a session has ended is written a moment later.
    processes.wait_for(
        lambda: logs()['general']['size'] == path.stat().st_size, 'the size of it all'
    )
    mariadb.call('server_restart')
    assert logs()['general']['enabled']
    mariadb.call('log_disable', name='general')
    mariadb.query("SELECT 'after'")
    assert "SELECT 'after'" not in path.read_text()
    mariadb.call('log_enable', name='slow_query')
    # Sessions that are there do not begin to log.
    assert mariadb.made is not None
    mariadb.made.engine.close()
    mariadb.query('SET SESSION long_query_time = 0')
    mariadb.query("SELECT 'slow'")
    slow = mariadb.folder / 'log' / 'slow.log'
    # It is written when the answer is on its way already.
    processes.wait_for(
        lambda: "SELECT 'slow'" in slow.read_text(), 'the slow statement'
    )
    mariadb.call('log_disable', name='slow_query')
    with pytest.raises(errors.InvalidArgument, match='no log that is switched'):
        mariadb.call('log_disable', name='error')


def test_tls_as_clients_see_it(mariadb: guests.Guest) -> None:
    """One test: each step needs the one before."""
    assert mariadb.call('tls_show')['mode'] == 'off'
    with pytest.raises(errors.GuestError, match='TLS is off'):
        mariadb.call('tls_rotate')
    with pytest.raises(errors.GuestError, match='no way back'):
        mariadb.call('tls_rollback')

    shown = mariadb.call('tls_enable')
    assert (shown['mode'], shown['self_signed']) == ('on', True)
    assert shown['expires'] > time.time() + 3000 * 86400
    assert cipher(mariadb, shown['certificate'])
    assert not cipher(mariadb)

    # Another certificate, and no other way in: with no restart.
    pid = mariadb.call('status')['pid']
    rotated = mariadb.call('tls_rotate')
    assert rotated['certificate'] != shown['certificate']
    assert cipher(mariadb, rotated['certificate'])
    with pytest.raises(pymysql.err.OperationalError, match='CERTIFICATE_VERIFY_FAILED'):
        cipher(mariadb, shown['certificate'])
    given = certificates.make()
    required = mariadb.call(
        'tls_enable', required=True, certificate=given.certificate, key=given.key
    )
    assert (required['mode'], required['certificate']) == (
        'required',
        given.certificate,
    )
    with pytest.raises(pymysql.err.OperationalError, match='Access denied'):
        cipher(mariadb)
    assert mariadb.call('status')['pid'] == pid

    # The files say the same, and one step back.
    mariadb.call('server_restart')
    assert cipher(mariadb, given.certificate)
    assert mariadb.call('tls_rollback') == rotated
    assert not cipher(mariadb)
    assert mariadb.call('tls_disable')['mode'] == 'off'
    assert not cipher(mariadb)
    with pytest.raises(pymysql.err.OperationalError, match='SSL'):
        cipher(mariadb, rotated['certificate'])


def test_what_is_no_certificate_is_refused(mariadb: guests.Guest) -> None:
    first, second = certificates.make(), certificates.make()
    for arguments, message in (
        ({'certificate': 'x', 'key': 'y'}, 'certificate, key or ca'),
        ({'certificate': first.certificate}, 'both, or neither'),
        ({'certificate': first.certificate, 'key': second.key}, 'mismatch'),
        ({'certificate': first.certificate, 'key': first.key, 'ca': 'x'}, 'or ca'),
    ):
        with pytest.raises(errors.InvalidArgument, match=message):
            mariadb.call('tls_enable', **arguments)
    assert mariadb.call('tls_show')['mode'] == 'off'
