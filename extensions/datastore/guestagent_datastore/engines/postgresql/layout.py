# SPDX-License-Identifier: Apache-2.0
"""The files of a PostgreSQL server, and the programs that read them.

Its configuration is in our folder, none in the data folder.  ``postgresql.conf``
includes these, so that a later one wins: what follows from the memory, the operator's
text, what a container's layout in that text would break, the overrides, and what the
extension relies on.  What decides who comes in from where is in the command line, which
wins even over ``ALTER SYSTEM``.
"""

from __future__ import annotations

import logging
import os
import pathlib
import pwd
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from guestagent import errors
from guestagent_datastore import engine, files, models, programs
from guestagent_datastore.engines.postgresql import client, conffile, hba, kept, sizing

LOG = logging.getLogger(__name__)

#: The files that are included, in their order.
MEMORY, OPERATOR, BASE = 'memory.conf', 'operator.conf', 'base.conf'
OVERRIDES, OWN, RECOVERY = 'overrides.conf', 'own.conf', 'recovery.conf'
FILES = (MEMORY, OPERATOR, BASE, OVERRIDES, OWN, RECOVERY)
#: Where Debian's packages put each major version.
INSTALLED = pathlib.Path('/usr/lib/postgresql')


class Layout(engine.Engine):
    """What has to do with files.

    :ivar client: for statements.
    """

    user: ClassVar[str] = 'postgres'
    port: ClassVar[int] = 5432

    def __init__(self, place: models.Place) -> None:
        super().__init__(place)
        self.client = client.Client(place.run, self.number)

    @property
    def number(self) -> int:
        """The TCP port, which is also in the socket's name."""
        return self.place.port or self.port

    @property
    def socket(self) -> pathlib.Path:
        """The unix socket."""
        return self.place.run / f'.s.PGSQL.{self.number}'

    def file(self, name: str) -> pathlib.Path:
        """Return one of the configuration files."""
        return self.place.config / name

    def recall(self) -> kept.State:
        """Return what the engine keeps."""
        return kept.load(self.place.state)

    def keep(self, state: kept.State) -> None:
        """Keep what has changed, and write the files that follow from it."""
        kept.save(self.place.state, state)
        self.write_files(state)

    def program(self, name: str) -> str:
        """Return the path of a program of the data's version, else of the newest.

        :raises guestagent.errors.GuestError: it is not installed.
        """
        major = files.read(self.place.data / 'PG_VERSION').strip()
        found = sorted(
            (path for path in INSTALLED.glob(f'*/bin/{name}') if _major(path)),
            key=_major,
        )
        if major:
            found = [path for path in found if path.parts[-3] == major]
        if not found:
            wanted = f'PostgreSQL {major}'.strip()
            raise errors.GuestError(f'{wanted} is not installed: there is no {name}')
        return str(found[-1])

    def upgrade_packages(self) -> tuple[str, ...]:
        """Return the packages of this major version: ``postgresql`` only names one."""
        major = pathlib.Path(self.program('postgres')).parts[-3]
        return f'postgresql-{major}', f'postgresql-client-{major}'

    def check_major(self, major: str) -> None:
        """Refuse data of a major version that is not installed.

        :raises guestagent.errors.GuestError: names both.
        """
        if not (INSTALLED / major / 'bin' / 'postgres').exists():
            raise errors.GuestError(
                f'the data is of PostgreSQL {major}, but {self.version()} is installed'
            )

    def run(self, name: str, *arguments: str, **how: Any) -> str:
        """Run a program as the server's user and return what it says.

        :param how: as for ``programs.run``.
        :raises guestagent.errors.GuestError: it failed.
        """
        command = models.Command(
            (self.program(name), *arguments),
            folder=self.place.run,
            user=self.place.user,
        )
        return programs.run(command, **how)

    def version(self) -> str:
        """Return the version of the installed server."""
        said = programs.run(models.Command((self.program('postgres'), '--version')))
        found = re.search(r'\d+(\.\d+)+', said)
        if found is None:
            raise errors.GuestError(f'postgres --version says {said.strip()!r}')
        return found[0]

    def prepare_folders(self) -> None:
        """Make the folders that are not there; nobody else may read the data."""
        for path in (self.place.run, self.place.logs):
            files.make_folder(path, self.place.user)
        self._take_data()
        files.make_folder(self.place.data, self.place.user, 0o700)
        files.make_folder(self.place.config, '', 0o755)
        files.make_folder(self.place.state, '', 0o700)

    def _take_data(self) -> None:
        """Give data from another guest, where users had other numbers, to ours."""
        if os.geteuid() != 0:
            return
        try:
            owner = (self.place.data / 'PG_VERSION').stat().st_uid
            account = pwd.getpwnam(self.place.user)
        except (FileNotFoundError, KeyError):
            return
        if owner == account.pw_uid:
            return
        for folder, _, names in os.walk(self.place.data):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)

    def initialised(self) -> bool:
        """Whether a whole cluster is there."""
        whole = (self.place.data / 'global' / 'pg_control').is_file()
        return whole and not self.incomplete.exists()

    def recover(self, operation: str) -> str:
        """Empty a data folder that was being filled; else the server gets over it."""
        if not self.incomplete.exists():
            return f'{operation} was cut short; the data is as the server has it'
        files.empty(self.place.data)
        self.incomplete.unlink()
        return f'{operation} was cut short; the unfinished data was removed'

    def initialise(self) -> None:
        """Make an empty cluster, its files in UTF-8 and with checksums."""
        with self.filling():
            self.run(
                'initdb',
                f'--pgdata={self.place.data}',
                f'--username={client.BOOTSTRAP}',
                '--encoding=UTF8',
                '--locale=C.UTF-8',
                '--data-checksums',
                '--auth-local=peer',
                '--auth-host=scram-sha-256',
                '--no-instructions',
                seconds=300,
            )
        for name in ('postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'):
            # They would only mislead: ours count.
            (self.place.data / name).unlink(missing_ok=True)

    def recover_at_start(self) -> None:
        """Have the server read all WAL that is there, then begin a timeline.

        It serves when that is done, not before.
        """
        files.write(self.file(RECOVERY), conffile.HEAD + _RECOVERY_TEXT)
        files.write(self.place.data / 'recovery.signal', '', user=self.place.user)

    def returned(self) -> None:
        """Have the server recover nothing, too."""
        super().returned()
        files.write(self.file(RECOVERY), '')

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files.

        :raises guestagent.errors.InvalidArgument: the server does not take contents;
            nothing has changed.
        """
        self.prepare_folders()
        state = self.recall()
        if memory:
            state.memory = memory
            kept.save(self.place.state, state)
        for name in FILES:
            if not self.file(name).exists():
                files.write(self.file(name), '')
        files.write(
            self.file(MEMORY),
            conffile.lines(sizing.values(state.memory, self.place.volume)),
        )
        files.write(self.file(BASE), conffile.HEAD + _BASE_TEXT)
        files.write(
            self.file('postgresql.conf'),
            conffile.HEAD + ''.join(f"include '{name}'\n" for name in FILES),
        )
        self.write_files(state)
        if contents is not None:
            text = self._check_operator(conffile.without_includes(contents))
            files.write(self.file(OPERATOR), text)

    def _check_operator(self, text: str) -> str:
        """Return what the server takes of an operator's text.

        Locales that this guest does not have are left out: a control plane writes the
        same text for images of all kinds.

        :raises guestagent.errors.InvalidArgument: there is something else wrong.
        """
        try:
            self.check_file(OPERATOR, text)
        except errors.InvalidArgument as error:
            missing = conffile.missing_locales(str(error))
            if not missing:
                raise
            LOG.warning('left out of the configuration: %s', error)
            text = conffile.without_parameters(text, missing)
            self.check_file(OPERATOR, text)
        return text

    def write_files(self, state: kept.State) -> None:
        """Write the files that follow from what is kept."""
        files.write(self.file(OVERRIDES), conffile.lines(state.overrides))
        self._write_keys(state)
        files.write(self.file(OWN), conffile.lines(self.own_values(state)))
        required = bool(state.tls.get('required'))
        files.write(self.file('pg_hba.conf'), hba.rules(state.hosts, required))
        agent = pwd.getpwuid(os.geteuid()).pw_name
        files.write(
            self.file('pg_ident.conf'), hba.identities([agent, self.place.user])
        )

    def own_values(self, state: kept.State) -> dict[str, models.Value]:
        """Return the parameters that the extension relies on, and nobody overrides."""
        values: dict[str, models.Value] = {
            'hot_standby': True,
            'lc_messages': 'C',
            'logging_collector': True,
            'log_destination': 'stderr',
            'log_directory': str(self.place.logs),
            'log_filename': 'postgresql.log',
            'ssl': bool(state.tls),
            'primary_conninfo': '',
            'primary_slot_name': '',
            'recovery_target_timeline': 'latest',
        }
        if state.read_only:
            values['default_transaction_read_only'] = True
        if state.general_log:
            values['log_statement'] = 'all'
        if state.tls:
            values['ssl_cert_file'] = str(self.file('server.crt'))
            values['ssl_key_file'] = str(self.file('server.key'))
            ca = self.file('ca.crt') if state.tls['ca'] else ''
            values['ssl_ca_file'] = str(ca)
        if state.source:
            values['primary_conninfo'] = self.connection_words(state)
            values['primary_slot_name'] = state.source['slot']
        return values

    def connection_words(self, state: kept.State) -> str:
        """Return libpq's words for the source; the password stands in a file."""
        source = state.source
        words = {
            'host': source['host'],
            'port': str(source['port']),
            'user': source['user'],
            'dbname': 'postgres',
            'passfile': str(self.file('source.pass')),
            'application_name': source['slot'],
            'connect_timeout': '10',
            **self.tls_words(source),
        }
        return ' '.join(
            f'{name}={conffile.word(value)}' for name, value in words.items()
        )

    def tls_words(self, source: Mapping[str, Any]) -> dict[str, str]:
        """Return libpq's words for how to come to the source by TLS."""
        if source.get('ca'):
            # Not its name: it is known by its address.
            path = str(self.file('source-ca.crt'))
            return {'sslmode': 'verify-ca', 'sslrootcert': path}
        return {'sslmode': 'require' if source.get('tls') else 'prefer'}

    def _write_keys(self, state: kept.State) -> None:
        """Write what only the server's user may read; remove what is not needed."""
        source = state.source
        password = ''
        if source:
            escaped = re.sub(r'([\\:])', r'\\\1', source['password'])
            password = f'*:*:*:{source["user"]}:{escaped}\n'
        texts = {
            'server.crt': state.tls.get('certificate', ''),
            'server.key': state.tls.get('key', ''),
            'ca.crt': state.tls.get('ca', ''),
            'source.pass': password,
            'source-ca.crt': source.get('ca', ''),
        }
        for name, text in texts.items():
            if text:
                files.write(self.file(name), text, 0o600, self.place.user)
            else:
                self.file(name).unlink(missing_ok=True)

    def check_file(self, name: str, text: str) -> None:
        """Have the server read its files with another text in one of them.

        :raises guestagent.errors.InvalidArgument: it does not take it, and why.
        """
        trial = {other: f"include '{self.file(other)}'\n" for other in FILES}
        trial[name] = f"include 'trial-{name}'\n"
        main = self.file('trial.conf')
        try:
            files.write(self.file(f'trial-{name}'), text)
            files.write(main, ''.join(trial.values()))
            self.run(
                'postgres',
                '-D',
                str(self.place.data),
                *('-c', f'config_file={main}', '-c', 'log_line_prefix='),
                *('-c', 'lc_messages=C', '-c', 'logging_collector=off'),
                *('-c', 'log_destination=stderr', '-C', 'port'),
            )
        except errors.GuestError as error:
            raise errors.InvalidArgument(conffile.complaints(str(error))) from None
        finally:
            main.unlink(missing_ok=True)
            self.file(f'trial-{name}').unlink(missing_ok=True)


#: What the layout of a container in an operator's text would break, and what is good
#: unless it is overridden.
_BASE_TEXT = """\
archive_mode = off
archive_command = ''
restore_command = ''
external_pid_file = ''
password_encryption = scram-sha-256
wal_log_hints = on
log_rotation_age = 0
log_rotation_size = 0
log_truncate_on_rotation = off
"""

_RECOVERY_TEXT = """\
restore_command = 'false'
recovery_target_timeline = 'latest'
hot_standby = off
"""


def _major(path: pathlib.Path) -> float:
    """Return the version that a program of Debian's layout belongs to, or 0."""
    name = path.parts[-3]
    return float(name) if re.fullmatch(r'\d+(\.\d+)?', name) else 0.0
