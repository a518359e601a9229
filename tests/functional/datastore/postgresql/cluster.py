# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of the engine in a temporary folder, and clients of it."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from typing import Any

import psycopg2
from guestagent_datastore import models
from guestagent_datastore.engines import postgresql

from devstack import processes


class Cluster:
    """A guest's folders and the server in them.

    :ivar engine: what is tested.
    """

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-pg-'))
        self.folder.chmod(0o755)
        self.port = processes.free_port()
        volume = self.folder / 'volume'
        volume.mkdir()
        self.engine = self.make_engine()
        self.process: processes.Process | None = None

    def make_engine(self) -> postgresql.PostgreSQL:
        """Return a new engine of this place, as another agent has it."""
        volume = self.folder / 'volume'
        return postgresql.PostgreSQL(
            models.Place(
                volume=volume,
                data=volume / 'data',
                config=self.folder / 'config',
                run=self.folder / 'run',
                state=volume / 'guestagent',
                logs=self.folder / 'log',
                user=postgresql.PostgreSQL.user,
                port=self.port,
                listen='127.0.0.1',
            )
        )

    def make(self, data: pathlib.Path | None = None) -> None:
        """Make an empty server that runs, of its own or of a copy of this data."""
        self.engine.configure('fsync = off\n', 64)
        if data is None:
            self.engine.initialise()
        else:
            subprocess.run(
                ['cp', '--archive', '--no-target-directory', data, self.data],
                check=True,
            )
        self.start()

    @property
    def data(self) -> pathlib.Path:
        """The server's data folder."""
        return self.engine.place.data

    def start(self, secure: bool = True) -> None:
        """Start the server and wait until it serves."""
        self.engine.prepare_folders()
        command = self.engine.server_command()
        user: list[str] = []
        if os.geteuid() == 0:
            user = ['setpriv', f'--reuid={command.user}', f'--regid={command.user}']
            user += ['--clear-groups', '--pdeathsig', 'INT']
        self.process = processes.Process(
            'postgres',
            [*user, *command.argv],
            self.folder / 'log' / 'output.log',
            env={'PATH': os.defpath, 'LC_ALL': 'C.UTF-8'},
            cwd=command.folder,
        )
        self.process.wait_for(
            lambda: self.engine.ready() == 'healthy', 'PostgreSQL serves', 60
        )
        if secure:
            self.engine.secure()

    def stop(self) -> None:
        """Stop it in good order."""
        self.engine.close()
        if self.process is not None:
            if self.process.running:
                stop_signal = getattr(signal, self.engine.stop_signal)
                os.kill(self.process.pid, stop_signal)
            self.process.wait_end(60)
            self.process = None

    def pids(self) -> list[int]:
        """Return its processes; each child has a session of its own."""
        assert self.process is not None
        pid = self.process.pid
        children = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text()
        return [pid, *map(int, children.split())]

    def restart(self) -> None:
        """Stop it and start it."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Kill it, and delete all."""
        self.engine.close()
        if self.process is not None and self.process.running:
            # The server's own "at once".
            os.kill(self.process.pid, signal.SIGQUIT)
            self.process.wait_end(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(
        self, user: str, password: str, database: str = 'postgres', **words: Any
    ) -> Any:
        """Return a client's connection over TCP."""
        connection = psycopg2.connect(
            host='127.0.0.1',
            port=self.port,
            user=user,
            password=password,
            dbname=database,
            client_encoding='utf8',
            connect_timeout=30,
            **words,
        )
        connection.autocommit = True
        return connection

    def ask(
        self,
        user: str,
        password: str,
        statement: str,
        database: str = 'postgres',
        **words: Any,
    ) -> list[Any]:
        """Run a statement as a user over TCP and return its rows."""
        connection = self.connect(user, password, database, **words)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def query(self, statement: str, *values: Any, database: str = 'postgres') -> Any:
        """Run a statement as our administrator."""
        with self.engine.client.session(database) as session:
            return session.query(statement, values)


def state(pid: int) -> str:
    """Return the kernel's letter for how a process is; ``''``: there is none."""
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return ''
    return stat.rpartition(')')[2].split()[0]


def self_signed(folder: pathlib.Path, name: str) -> models.TlsFiles:
    """Return a certificate of this name and its key; they are files here, too."""
    certificate, key = folder / f'{name}.crt', folder / f'{name}.key'
    words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7'
    paths = ['-keyout', str(key), '-out', str(certificate)]
    subprocess.run(
        ['openssl', *words.split(), '-subj', f'/CN={name}', *paths],
        check=True,
        capture_output=True,
    )
    return models.TlsFiles(certificate.read_text(), key.read_text())
