# SPDX-License-Identifier: Apache-2.0
"""The Redis server itself: its files, its start, and whether it serves.

``redis.conf`` includes these, so that a later one wins: what follows from the memory,
the operator's text, the overrides, and what the extension relies on.  Accounts stand in
a file that the server may write; ours has a password that the agent alone knows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import pwd
import re
import secrets
import shutil
from typing import ClassVar

from guestagent import errors
from guestagent_datastore import engine, files, models, programs
from guestagent_datastore.engines.redis import client, conffile
from guestagent_datastore.services import peer

#: The files that are included, in their order.
MEMORY, OPERATOR, OVERRIDES, OWN = (
    'memory.conf',
    'operator.conf',
    'overrides.conf',
    'own.conf',
)
FILES = (MEMORY, OPERATOR, OVERRIDES, OWN)
#: The share of the memory that data may take, in percent: a backup needs the rest.
DATA_PERCENT = 60
#: No server knows this; when it is what the server complains of, all else is good.
_END = 'guestagent-end-of-trial'


@dataclasses.dataclass(slots=True)
class State:
    """What is kept on the volume.

    :ivar password: of our own account.
    :ivar root: the SHA-256 of root's password; ``''``: root is closed.
    :ivar memory: MiB that the server may count on; 0: the machine's.
    :ivar overrides: parameters that a caller has set.
    :ivar originals: what the server had before each override.
    """

    password: str = dataclasses.field(default='', repr=False)
    root: str = dataclasses.field(default='', repr=False)
    memory: int = 0
    overrides: dict[str, models.Value] = dataclasses.field(default_factory=dict)
    originals: dict[str, str] = dataclasses.field(default_factory=dict)


class Server(engine.Engine):
    """What has to do with files and the process."""

    port: ClassVar[int] = 6379

    @property
    def socket(self) -> pathlib.Path:
        """The unix socket."""
        return self.place.run / 'redis.sock'

    @property
    def client(self) -> client.Client:
        """Runs commands in the server, as our own account."""
        return client.Client(self.socket, self.recall().password)

    def file(self, name: str) -> pathlib.Path:
        """Return one of the configuration files."""
        return self.place.config / name

    def recall(self) -> State:
        """Return what is kept."""
        text = files.read(self.place.state / 'redis.json')
        return State(**json.loads(text)) if text else State()

    def keep(self, state: State) -> None:
        """Keep what has changed, and write the file that follows from it."""
        text = json.dumps(dataclasses.asdict(state))
        files.write(self.place.state / 'redis.json', text, 0o600)
        files.write(self.file(OVERRIDES), conffile.lines(state.overrides))

    def version(self) -> str:
        """Return the version of the installed server."""
        said = programs.run(models.Command((_program('redis-server'), '--version')))
        found = re.search(r'v=(\d+(?:\.\d+)+)', said)
        if found is None:
            raise errors.GuestError(f'redis-server --version says {said.strip()!r}')
        return found[1]

    def initialised(self) -> bool:
        """Whether a server was made here; Redis itself begins with no file at all."""
        return bool(self.recall().password) and not self.file_of_restore.exists()

    @property
    def file_of_restore(self) -> pathlib.Path:
        """Is there while the data folder is being filled."""
        return self.place.state / 'restoring'

    def initialise(self) -> None:
        """Make our account; there is no other file to make."""
        self.prepare_folders()
        state = self.recall()
        state.password = state.password or secrets.token_urlsafe(32)
        self.keep(state)

    def prepare_folders(self) -> None:
        """Make the folders that are not there, and see that our account is."""
        super().prepare_folders()
        files.make_folder(self.place.data, self.place.user, 0o700)
        self._take_data()
        path = self.place.data / 'users.acl'
        others = [
            line
            for line in files.read(path).splitlines()
            if line.split()[1:2] not in (['default'], [client.ADMIN])
        ]
        state = self.recall()
        ours = [_account(client.ADMIN, _sha256(state.password))] * bool(state.password)
        lines = [_account('default', state.root), *ours, *others]
        files.write(path, '\n'.join([*lines, '']), 0o600, self.place.user)

    def _take_data(self) -> None:
        """Give data from another guest, where users had other numbers, to ours."""
        if os.geteuid() != 0:
            return
        account = pwd.getpwnam(self.place.user)
        for folder, _, names in os.walk(self.place.data):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files.

        :raises guestagent.errors.InvalidArgument: the server does not take contents;
            nothing has changed.
        """
        self.prepare_folders()
        for name in FILES:
            if not self.file(name).exists():
                files.write(self.file(name), '')
        state = self.recall()
        memory = state.memory = memory or state.memory
        if not memory:
            text = pathlib.Path('/proc/meminfo').read_text()
            memory = int(text.split()[1]) // 1024
        limit = max(1, memory * DATA_PERCENT // 100)
        files.write(self.file(MEMORY), conffile.lines({'maxmemory': f'{limit}mb'}))
        files.write(self.file(OWN), conffile.lines(self.own_values()))
        self.keep(state)
        files.write(
            self.file('redis.conf'),
            conffile.HEAD + ''.join(f'include {self.file(name)}\n' for name in FILES),
        )
        if contents is not None:
            text = conffile.without_others(contents)
            self.check_file(OPERATOR, text)
            files.write(self.file(OPERATOR), text)

    def own_values(self) -> dict[str, models.Value]:
        """Return the parameters that the extension relies on, and nobody overrides."""
        place = self.place
        return {
            'aclfile': str(place.data / 'users.acl'),
            'appenddirname': 'appendonlydir',
            'appendfilename': 'appendonly.aof',
            'bind': place.listen,
            'daemonize': False,
            'dbfilename': 'dump.rdb',
            'dir': str(place.data),
            'enable-debug-command': False,
            'enable-module-command': False,
            'enable-protected-configs': False,
            'logfile': str(place.logs / 'redis.log'),
            'pidfile': '',
            'port': place.port,
            # Nobody comes in without a password.
            'protected-mode': False,
            'repl-diskless-sync': True,
            'repl-diskless-sync-delay': 0,
            'supervised': 'no',
            'syslog-enabled': False,
            'unixsocket': str(self.socket),
            'unixsocketperm': '700',
        }

    def check_file(self, name: str, text: str) -> None:
        """Have the server read its files with another text in one of them.

        :raises guestagent.errors.InvalidArgument: it does not take it, and why.
        """
        trial = self.file('trial.conf')
        earlier = ''.join(
            f'include {self.file(other)}\n' for other in FILES[: FILES.index(name)]
        )
        files.write(trial, f'{earlier}{text}\n{_END}\n')
        try:
            programs.run(
                models.Command(
                    (_program('redis-server'), str(trial)),
                    user=self.place.user,
                    folder=self.place.run,
                )
            )
        except errors.GuestError as error:
            if f">>> '{_END}'" not in str(error):
                raise errors.InvalidArgument(_complaint(str(error))) from None
        finally:
            trial.unlink(missing_ok=True)

    def server_command(self) -> models.Command:
        """Return redis-server with our file."""
        return models.Command(
            (_program('redis-server'), str(self.file('redis.conf'))),
            user=self.place.user,
            folder=self.place.data,
        )

    def ready(self) -> models.State:
        """Ask it for an answer."""
        asked = client.Client(self.socket, self.recall().password, seconds=3)
        try:
            asked.run('PING')
        except client.NotListening:
            return 'shutdown'
        except errors.GuestError:
            return 'running'
        return 'healthy'

    def may_stop(self) -> bool:
        """False while the log of changes is made anew, e.g. after a restore.

        Until the first one is whole, Redis ignores the signal and forgets it.
        """
        try:
            info = self.client.info('persistence')
        except errors.GuestError:
            return True
        return '1' not in (
            info.get('aof_rewrite_in_progress'),
            info.get('aof_rewrite_scheduled'),
        )

    def server_pid(self) -> int:
        """Return who listens on the socket."""
        return peer.listener(self.socket)

    def last_words(self) -> str:
        """Return the warnings at the end of its log."""
        lines = files.tail(self.place.logs / 'redis.log')
        lines += files.tail(self.place.logs / 'output.log')
        found = [line.partition(' # ')[2] for line in lines if ' # ' in line]
        return '; '.join(found[-3:])

    def secure(self) -> None:
        """Remove a log of changes that a restore has left and nobody reads."""
        if self.client.pairs('CONFIG', 'GET', 'appendonly')['appendonly'] == 'no':
            folder = self.place.data / 'appendonlydir'
            if folder.exists():
                shutil.rmtree(folder)

    def recover(self, operation: str) -> str:
        """Remove data that was restored only in part."""
        if not self.file_of_restore.exists():
            return f'{operation} was cut short; the data is as the server has it'
        files.empty(self.place.data)
        self.file_of_restore.unlink()
        return f'{operation} was cut short; the unfinished data was removed'

    def logs(self) -> list[models.Log]:
        """Return the one log that there is."""
        return [models.Log('error', 'SYS', True, self.place.logs / 'redis.log')]


def _account(name: str, digest: str) -> str:
    """Return the line of an account that may do everything; without a digest, none."""
    if not digest:
        return f'user {name} off resetpass ~* &* +@all'
    return f'user {name} on #{digest} ~* &* +@all'


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _complaint(said: str) -> str:
    """Return the line that the server does not like, and why."""
    found = re.search(r">>> '(.*)'\n(.*)", said)
    return f'{found[1]}: {found[2]}' if found else said


def _program(name: str) -> str:
    found = shutil.which(name, path=programs.PATH)
    if found is None:
        raise errors.GuestError(f'Redis is not installed: there is no {name}')
    return found
