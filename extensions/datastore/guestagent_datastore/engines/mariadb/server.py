# SPDX-License-Identifier: Apache-2.0
"""The MariaDB server itself: its files, its start, and whether it serves.

It reads one file, ``my.cnf`` in our folder, which includes in this order, so that a
later one wins: defaults, the operator's text, the overrides, and
what the extension relies on.  At each start it makes the agent's own account, which
has no password, because only the agent's user can come in by it: so a restored backup
of any origin can be managed.
"""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Callable

from guestagent import errors
from guestagent_datastore import engine, files, models, programs
from guestagent_datastore.engines.mariadb import client, sql

#: The files that are included, in their order.
DEFAULTS, OPERATOR, OVERRIDES = 'defaults.cnf', 'operator.cnf', 'overrides.cnf'
OWN, REPLICATION, LOGS, TLS = 'own.cnf', 'replication.cnf', 'logs.cnf', 'tls.cnf'
FILES = (DEFAULTS, OPERATOR, REPLICATION, LOGS, TLS, OVERRIDES, OWN)

#: Seconds that one change may take: a large database is not deleted at once.
CHANGE_SECONDS = 600
#: The share of the memory that the buffer pool gets, in percent.
POOL_PERCENT = 50

DEFAULTS_TEXT = """\
# Written by the guest agent; changes are lost.
[mariadbd]
tmpdir = {temporary}
character_set_server = utf8mb4
innodb_buffer_pool_size = {pool}M
skip_name_resolve = 1
binlog_expire_logs_seconds = 604800
"""

OWN_TEXT = """\
# Written by the guest agent; changes are lost.
[mariadbd]
datadir = {data}
socket = {socket}
pid_file = {run}/pid
port = {port}
bind_address = {listen}
{network}log_error = {logs}/error.log
init_file = {config}/init.sql
"""

INIT_TEXT = """\
SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS {account} IDENTIFIED VIA unix_socket;
ALTER USER {account} IDENTIFIED VIA unix_socket;
GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;
"""


class Server(engine.Engine):
    """What has to do with files and the process.

    :ivar client: for statements that look; nothing holds it up.
    :ivar changer: for those that change something and may wait for others.
    """

    def __init__(self, place: models.Place) -> None:
        super().__init__(place)
        self.client = client.Client(self.socket)
        self.changer = client.Client(self.socket, CHANGE_SECONDS, keep=False)
        self._prober = client.Client(self.socket, seconds=3)

    @property
    def socket(self) -> pathlib.Path:
        """The unix socket."""
        return self.place.run / 'mariadb.sock'

    @property
    def restored(self) -> pathlib.Path:
        """The file with the GTID position of the backup that the data is from."""
        return self.place.state / 'restored'

    def file(self, name: str) -> pathlib.Path:
        """Return one of the configuration files."""
        return self.place.config / name

    def version(self) -> str:
        """Return the version of the installed server."""
        said = programs.run(models.Command((_program(), '--no-defaults', '--version')))
        found = re.search(r'\d+\.\d+\.\d+', said)
        if found is None:
            raise errors.GuestError(f'mariadbd --version says {said.strip()!r}')
        return found[0]

    def initialised(self) -> bool:
        """Whether the system's tables are there."""
        return (self.place.data / 'mysql').is_dir() and not self.incomplete.exists()

    def initialise(self) -> None:
        """Make the system's tables."""
        argv = (
            'mariadb-install-db',
            '--no-defaults',
            '--auth-root-authentication-method=socket',
            f'--auth-root-socket-user={client.administrator()}',
            '--skip-test-db',
            '--skip-name-resolve',
            # A guest whose own name nobody knows is as good.
            '--force',
            f'--datadir={self.place.data}',
            f'--tmpdir={self.temporary}',
        )
        with self.filling():
            programs.run(models.Command(argv, user=self.place.user), seconds=300)

    @property
    def temporary(self) -> pathlib.Path:
        """Where temporary tables lie, which may be large.

        Not in /tmp: any server that starts removes those that are there.
        """
        return self.place.volume / 'tmp'

    def prepare_folders(self) -> None:
        """Make the folder of temporary tables too."""
        super().prepare_folders()
        files.make_folder(self.temporary, self.place.user)

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files.

        :raises guestagent.errors.InvalidArgument: the server does not take contents;
            nothing has changed.
        """
        self.prepare_folders()
        for name in FILES:
            if not self.file(name).exists():
                files.write(self.file(name), '')
        pool = max(16, self._memory(memory) * POOL_PERCENT // 100)
        text = DEFAULTS_TEXT.format(pool=pool, temporary=self.temporary)
        files.write(self.file(DEFAULTS), text)
        files.write(self.file(OWN), self._own_text())
        account = f'{sql.identifier(client.administrator())}@localhost'
        files.write(self.file('init.sql'), INIT_TEXT.format(account=account))
        files.write(
            self.file('my.cnf'),
            ''.join(f'!include {self.file(name)}\n' for name in FILES),
        )
        if contents is not None:
            self._configure_operator(contents)

    def _memory(self, asked: int) -> int:
        """Return what the server may count on, in MiB: as asked, now or before."""
        kept = self.place.state / 'memory'
        if asked:
            files.write(kept, str(asked))
        text = pathlib.Path('/proc/meminfo').read_text()
        machine = int(text.split()[1]) // 1024
        return min(int(files.read(kept) or machine), machine)

    def _configure_operator(self, contents: str) -> None:
        before = files.read(self.file(OPERATOR))
        # The files that it may include are those of another layout.
        kept = [
            line for line in contents.splitlines() if not line.lstrip().startswith('!')
        ]
        files.write(self.file(OPERATOR), '\n'.join([*kept, '']))
        try:
            self.check_files()
        except errors.GuestError as error:
            files.write(self.file(OPERATOR), before)
            raise errors.InvalidArgument(f'config: {error}') from None

    def check_files(self) -> None:
        """Have the server read its files and end.

        :raises guestagent.errors.GuestError: it does not take them.
        """
        argv = (*self.server_command().argv, '--help', '--verbose')
        command = models.Command(argv, user=self.place.user, folder=self.place.run)
        try:
            programs.run(command)
        except errors.GuestError as error:
            wrong = re.findall(r'\[ERROR\] (.*)', str(error))
            raise errors.GuestError(wrong[0] if wrong else str(error)) from None

    def _own_text(self) -> str:
        place = self.place
        return OWN_TEXT.format(
            data=place.data,
            socket=self.socket,
            run=place.run,
            port=place.port,
            listen=place.listen,
            network='' if place.port else 'skip_networking\n',
            logs=place.logs,
            config=place.config,
        )

    def server_command(self) -> models.Command:
        """Return mariadbd with our file."""
        return models.Command(
            (_program(), f'--defaults-file={self.file("my.cnf")}'),
            user=self.place.user,
            folder=self.place.data,
        )

    def ready(self) -> models.State:
        """Ask it for a number."""
        try:
            self._prober.query('SELECT 1')
        except client.NotListening:
            return 'shutdown'
        except errors.GuestError:
            return 'running'
        return 'healthy'

    def server_pid(self) -> int:
        """Return who listens on the socket."""
        return self._prober.server_pid()

    def last_words(self) -> str:
        """Return the errors at the end of its log."""
        lines = files.tail(self.place.logs / 'error.log')
        found = [line for line in lines if '[ERROR]' in line]
        return '; '.join(line.partition('[ERROR] ')[2] for line in found[-3:])

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()
        self.changer.close()
        self._prober.close()

    def secure(self) -> None:
        """Take away anonymous users, and any root without a password."""
        strangers = self.client.query(
            "SELECT User, Host FROM mysql.user WHERE is_role = 'N' AND (User = '' OR "
            "(User = 'root' AND plugin = 'mysql_native_password' "
            # The second is what the server's own program gives to root.
            "AND authentication_string IN ('', 'invalid')))"
        )
        drops = [
            f'DROP USER {sql.identifier(name)}@{sql.identifier(host)}'
            for name, host in strangers
        ]
        self.changer.run(
            ['SET SESSION sql_log_bin = 0', *drops, 'SET SESSION sql_log_bin = 1']
        )

    def lock_writes(self) -> Callable[[], None]:
        """Have all tables closed and locked, as long as a connection lasts."""
        holder = client.Client(self.socket)
        holder.run(['FLUSH TABLES WITH READ LOCK'])

        def release() -> None:
            try:
                holder.run(['UNLOCK TABLES'])
            finally:
                holder.close()

        return release

    def upgraded(self) -> None:
        """Have the system's tables brought to the new version."""
        programs.run(
            models.Command(
                ('mariadb-upgrade', '--no-defaults', f'--socket={self.socket}')
            ),
            seconds=3600,
        )


def _program() -> str:
    # Not in everyone's PATH.
    found = shutil.which('mariadbd', path=programs.PATH)
    if found is None:
        raise errors.GuestError('MariaDB is not installed: there is no mariadbd')
    return found
