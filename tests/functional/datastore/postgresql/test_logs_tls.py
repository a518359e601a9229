# SPDX-License-Identifier: Apache-2.0
"""The log, and TLS as clients see it."""

from __future__ import annotations

import pathlib
import subprocess
import time

import psycopg2
import pytest
from guestagent_datastore import models

from devstack import processes
from guestagent import errors
from tests.functional.datastore.postgresql import cluster

PASSWORD = 'hunter2 of root'


def _is_encrypted(server: cluster.Cluster, **words: str) -> bool:
    statement = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'
    ((encrypted,),) = server.ask('postgres', PASSWORD, statement, **words)
    return bool(encrypted)


def test_statements_are_logged_while_that_is_on(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.enable_root(PASSWORD)
    names = {log.name: log for log in engine.logs()}
    path = names['general'].path
    assert names['error'].kind == 'SYS'
    assert (names['general'].kind, names['general'].enabled) == ('USER', False)

    postgresql.ask('postgres', PASSWORD, "SELECT 'before'")
    assert engine.enable_log('general', True) is False
    postgresql.ask('postgres', PASSWORD, "SELECT 'meanwhile'")
    assert {log.name: log.enabled for log in engine.logs()}['general']
    engine.enable_log('general', False)
    postgresql.ask('postgres', PASSWORD, "SELECT 'after'")

    processes.wait_for(lambda: "SELECT 'meanwhile'" in path.read_text(), 'the log')
    assert "SELECT 'before'" not in path.read_text()
    assert "SELECT 'after'" not in path.read_text()
    with pytest.raises(errors.InvalidArgument, match='only general is'):
        engine.enable_log('error', False)
    engine.disable_root()


def test_tls_comes_changes_and_goes(
    postgresql: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    engine = postgresql.engine
    engine.enable_root(PASSWORD)
    assert engine.tls() == models.Tls('off')
    first = cluster.self_signed(tmp_path, 'first')
    ca = str(tmp_path / 'first.crt')

    assert engine.enable_tls(first, False) is False
    assert _is_encrypted(postgresql, sslmode='verify-ca', sslrootcert=ca)
    assert not _is_encrypted(postgresql, sslmode='disable')
    shown = engine.tls()
    assert (shown.mode, shown.certificate) == ('on', first.certificate)
    assert shown.self_signed
    assert shown.expires is not None
    assert 6.9 * 86400 < shown.expires - time.time() < 7.1 * 86400

    engine.enable_tls(first, True)
    assert engine.tls().mode == 'required'
    with pytest.raises(psycopg2.Error, match='no encryption'):
        _is_encrypted(postgresql, sslmode='disable')

    # Rotated: clients that know the old one only are not served any more.
    second = cluster.self_signed(tmp_path, 'second')
    engine.enable_tls(second, True)
    with pytest.raises(psycopg2.Error, match='certificate verify failed'):
        _is_encrypted(postgresql, sslmode='verify-ca', sslrootcert=ca)
    ca = str(tmp_path / 'second.crt')
    assert _is_encrypted(postgresql, sslmode='verify-ca', sslrootcert=ca)

    # A guest made anew from the volume has the same.
    for path in (postgresql.folder / 'config').iterdir():
        path.unlink()
    postgresql.make_engine().configure('fsync = off\n', 64)
    postgresql.restart()
    assert _is_encrypted(postgresql, sslmode='verify-ca', sslrootcert=ca)
    key = postgresql.folder / 'config' / 'server.key'
    assert key.stat().st_mode & 0o777 == 0o600

    assert engine.disable_tls() is False
    assert not key.exists()
    assert not _is_encrypted(postgresql, sslmode='prefer')
    with pytest.raises(psycopg2.Error, match='does not support SSL'):
        _is_encrypted(postgresql, sslmode='require')
    engine.disable_root()


def test_certificates_that_are_refused(
    postgresql: cluster.Cluster, tmp_path: pathlib.Path
) -> None:
    engine = postgresql.engine
    good, other = (cluster.self_signed(tmp_path, name) for name in ('good', 'other'))
    words = f'pkey -aes256 -passout pass:hunter2 -in {tmp_path}/good.key'
    locked = subprocess.run(
        ['openssl', *words.split()], check=True, capture_output=True, text=True
    ).stdout
    for certificate, key, ca, words in (
        (good.certificate, other.key, '', 'values mismatch'),
        ('nothing', good.key, '', 'certificate, key or ca: '),
        (good.certificate, 'nothing', '', 'certificate, key or ca: '),
        (good.certificate, locked, '', 'certificate, key or ca: '),
        (good.certificate, good.key, 'nothing', 'certificate, key or ca: '),
    ):
        with pytest.raises(errors.InvalidArgument, match=words) as caught:
            engine.enable_tls(models.TlsFiles(certificate, key, ca), False)
        assert good.key not in str(caught.value)
    assert engine.tls() == models.Tls('off')
