# SPDX-License-Identifier: Apache-2.0
"""From nothing to a server that serves; configuration files; crashes."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import psycopg2
import pytest
from guestagent_datastore.engines import postgresql as postgresql_engine
from guestagent_datastore.engines.postgresql import client, probe

from devstack import processes
from guestagent import errors
from tests.functional.datastore.postgresql import cluster

NewCluster = Callable[[], cluster.Cluster]


def test_a_server_is_made_from_nothing(new_cluster: NewCluster) -> None:
    made = new_cluster()
    engine = made.engine
    assert engine.ready() == 'shutdown'
    assert not engine.initialised()

    made.make()

    assert engine.initialised()
    assert engine.ready() == 'healthy'
    assert made.process is not None
    assert engine.server_pid() == made.process.pid
    assert (
        engine.version().split('.')[0]
        == made.query('SHOW server_version')[0][0].split('.')[0]
    )
    assert made.query('SELECT session_user')[0][0] == client.ADMIN
    assert made.query('SHOW shared_buffers') == [('16MB',)]
    assert made.query('SHOW data_checksums') == [('on',)]

    made.stop()
    assert engine.ready() == 'shutdown'
    with pytest.raises(client.NotListening):
        made.query('SELECT 1')


def test_data_that_was_not_made_in_full_is_made_anew(new_cluster: NewCluster) -> None:
    made = new_cluster()
    made.engine.prepare_folders()
    (made.folder / 'volume' / 'data' / 'in the way').mkdir()
    with pytest.raises(errors.GuestError, match='not empty'):
        made.engine.initialise()
    (made.folder / 'volume' / 'data' / 'in the way').rmdir()
    # The agent was killed while it was made.
    made.engine.incomplete.touch()
    (made.folder / 'volume' / 'data' / 'PG_VERSION').write_text('15\n')
    made.make()
    assert made.engine.initialised()


def test_securing_again_does_no_harm(postgresql: cluster.Cluster) -> None:
    postgresql.query('ALTER ROLE os_admin NOLOGIN')
    postgresql.engine.close()
    with pytest.raises(errors.GuestError, match='not permitted to log in'):
        postgresql.query('SELECT 1')
    with postgresql.engine.client.as_bootstrap() as session:
        session.query('DROP ROLE os_admin')

    postgresql.engine.secure()
    postgresql.engine.secure()

    assert postgresql.query('SELECT session_user')[0][0] == client.ADMIN
    assert postgresql.engine.ready() == 'healthy'


def test_a_crash_is_seen_at_once_and_got_over(postgresql: cluster.Cluster) -> None:
    postgresql.query('CREATE TABLE public.kept AS SELECT 7 AS number')
    assert postgresql.process is not None
    # All of it at once, as when memory is short.
    everyone = postgresql.pids()
    for pid in everyone:
        os.kill(pid, signal.SIGKILL)
    postgresql.process.wait_end()
    processes.wait_for(lambda: {*map(cluster.state, everyone)} <= {'', 'Z'}, 'the end')
    assert postgresql.engine.ready() == 'shutdown'

    postgresql.start()

    assert postgresql.query('SELECT number FROM public.kept') == [(7,)]
    postgresql.query('DROP TABLE public.kept')


def test_a_session_that_was_ended_is_opened_anew(postgresql: cluster.Cluster) -> None:
    pid = postgresql.query('SELECT pg_backend_pid()')[0][0]
    assert postgresql.query('SELECT pg_backend_pid()')[0][0] == pid
    os.kill(pid, signal.SIGTERM)
    processes.wait_for(
        lambda: not os.path.exists(f'/proc/{pid}'), 'the session has ended'
    )
    assert postgresql.query('SELECT pg_backend_pid()')[0][0] != pid


def test_it_stops_while_clients_are_connected(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    engine.enable_root('hunter2 root')
    connection = postgresql.connect('postgres', 'hunter2 root')
    postgresql.restart()
    assert engine.ready() == 'healthy'
    connection.close()
    engine.disable_root()


def test_no_server_on_the_socket_is_no_answer(postgresql: cluster.Cluster) -> None:
    path = postgresql.folder / 'dumb.sock'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert probe.ask(path, 'os_admin') == 'shutdown'
        listener.listen()
        assert probe.ask(path, 'os_admin', seconds=0.2) == 'running'
    assert probe.ask(path, 'os_admin') == 'shutdown'
    with pytest.raises(probe.Refused):
        probe.ask(postgresql.engine.socket, 'nobody there')


def test_the_operators_text_counts_under_what_we_rely_on(
    new_cluster: NewCluster,
) -> None:
    made = new_cluster()
    made.engine.configure(
        "work_mem = '7MB'\nport = 1\nshared_buffers = 20MB\nlogging_collector = off\n"
        "archive_mode = on\narchive_command = 'cp %p /nowhere/%f'\n"
        "include_dir = '/nowhere/conf.d'\n",
        memory=64,
    )
    made.engine.initialise()
    made.start()
    assert made.query('SHOW work_mem') == [('7MB',)]
    assert made.query('SHOW shared_buffers') == [('20MB',)]
    assert made.query('SHOW logging_collector') == [('on',)]
    assert made.query('SHOW archive_mode') == [('off',)]

    before = (made.folder / 'config' / 'operator.conf').read_text()
    with pytest.raises(errors.InvalidArgument, match='"worked_mem"'):
        made.engine.configure('worked_mem = 1')
    with pytest.raises(errors.InvalidArgument, match='syntax error'):
        made.engine.configure('work_mem 7 of them')
    assert (made.folder / 'config' / 'operator.conf').read_text() == before
    assert [path.name for path in made.folder.glob('config/*trial*')] == []


def test_a_server_without_a_network(
    new_cluster: NewCluster, data: pathlib.Path
) -> None:
    made = new_cluster()
    place = dataclasses.replace(made.engine.place, port=0)
    made.engine = postgresql_engine.PostgreSQL(place)
    made.make(data)
    assert made.query('SHOW listen_addresses') == [('',)]
    made.engine.enable_root('hunter2 root')
    with pytest.raises(psycopg2.OperationalError, match='refused'):
        made.ask('postgres', 'hunter2 root', 'SELECT 1')
    with pytest.raises(errors.GuestError, match='unix socket alone'):
        made.engine.replication_account()


def test_locales_that_the_guest_lacks_are_left_out(
    postgresql: cluster.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    engine = postgresql.engine
    text = "work_mem = 9MB\nlc_monetary = 'tlh_KL.utf8'  # there\nLC_TIME 'tlh_KL'\n"
    engine.configure(text)
    assert 'tlh_KL' in caplog.text
    kept = (postgresql.folder / 'config' / 'operator.conf').read_text()
    assert kept == 'work_mem = 9MB\n'
    with pytest.raises(errors.InvalidArgument, match='nix'):
        engine.configure(f'{text}nix = 1\n')
    engine.configure('fsync = off\n')


def test_an_upgrade_stays_within_the_major_version(postgresql: cluster.Cluster) -> None:
    # The package postgresql has no program, and its version does not change with them.
    names = postgresql.engine.upgrade_packages()
    said = subprocess.run(
        ['dpkg-query', '--search', postgresql.engine.program('postgres')],
        capture_output=True,
        check=True,
        text=True,
    )
    assert said.stdout.partition(':')[0] == names[0]


def test_the_memory_is_as_before(postgresql: cluster.Cluster) -> None:
    engine = postgresql.engine
    path = postgresql.folder / 'config' / 'memory.conf'
    assert "shared_buffers = '16MB'" in path.read_text()
    engine.configure(memory=256)
    engine.configure()
    assert "shared_buffers = '64MB'" in path.read_text()
    engine.configure(memory=64)


def test_nobody_comes_in_as_our_administrator(postgresql: cluster.Cluster) -> None:
    postgresql.query("ALTER ROLE os_admin PASSWORD 'hunter2 admin'")
    with pytest.raises(Exception, match=r'pg_hba\.conf rejects connection'):
        postgresql.ask('os_admin', 'hunter2 admin', 'SELECT 1')
    postgresql.engine.secure()
    (password,) = postgresql.query(
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'os_admin'"
    )
    assert password == (None,)


def test_a_file_of_the_data_folder_does_not_count(postgresql: cluster.Cluster) -> None:
    # ALTER SYSTEM, which root may use, does not open the door to our account.
    postgresql.query("ALTER SYSTEM SET hba_file = '/etc/hostname'")
    postgresql.restart()
    assert postgresql.query('SHOW hba_file') == [
        (str(postgresql.folder / 'config' / 'pg_hba.conf'),)
    ]
    postgresql.query('ALTER SYSTEM RESET hba_file')


@pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away')
def test_data_of_another_guest_is_taken(postgresql: cluster.Cluster) -> None:
    # Users have other numbers there.
    postgresql.stop()
    subprocess.run(['chown', '-R', '12345:12345', postgresql.data], check=True)
    postgresql.start()
    assert postgresql.engine.ready() == 'healthy'


def test_an_idle_agent_needs_no_library(postgresql: cluster.Cluster) -> None:
    # What asks the server how it is, every few seconds, is a few lines of our own.
    asked = (
        'import sys; from guestagent_datastore.engines import postgresql; '
        'from guestagent_datastore.engines.postgresql import probe; import pathlib; '
        "print(probe.ask(pathlib.Path(sys.argv[1]), 'os_admin'), "
        "'psycopg2' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, '-c', asked, str(postgresql.engine.socket)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == ['healthy', 'False']
