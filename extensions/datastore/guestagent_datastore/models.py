# SPDX-License-Identifier: Apache-2.0
"""What engines take and return: values with no behaviour of their own.

Each result of a command is such a value as a dictionary of its fields
(``dataclasses.asdict``), so a field's name is a name on the wire.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

Item = TypeVar('Item')

#: What a parameter of the server may be set to.
Value = str | int | float | bool

#: ``healthy``: the server answers queries.  ``running``: it runs and answers, but does
#: not serve yet (it starts, or recovers).  ``shutdown``: it was stopped.  ``crashed``:
#: it ended by itself.  ``new``: nothing was prepared.
State = Literal['healthy', 'running', 'shutdown', 'crashed', 'new']

Role = Literal['single', 'source', 'replica']


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A program to run, with no shell.

    :ivar argv: never holds a secret: every user of the machine can read it.
    :ivar environment: added to a small one that holds nothing of the agent's.
    :ivar folder: the working folder.
    :ivar user: the account that it runs as when the agent is root.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    folder: pathlib.Path = pathlib.Path('/')
    user: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a server lives: made from the options, all paths absolute.

    :ivar volume: the mount point of the data volume.
    :ivar data: the server's data folder, on the volume; the server's own account owns
        it.
    :ivar config: the folder with the server's configuration files, all of them ours.
    :ivar run: the folder of its unix socket.
    :ivar state: for small files of the extension and the engine, mode 0700; on the
        volume, so that a guest made anew from the volume finds them.
    :ivar logs: the folder of the server's log files.
    :ivar user: the operating system's account that the server runs as.
    :ivar port: the TCP port; 0: it listens on the unix socket alone.
    :ivar listen: the address that it listens on.
    """

    volume: pathlib.Path
    data: pathlib.Path
    config: pathlib.Path
    run: pathlib.Path
    state: pathlib.Path
    logs: pathlib.Path
    user: str
    port: int
    listen: str


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """A database; what is ``''`` is left to the server."""

    name: str
    character_set: str = ''
    collate: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """An account of the server.

    :ivar host: from where it may come; engines without hosts use ``'%'`` alone.
    :ivar password: given, never returned.
    :ivar databases: the names of those that it may use.
    """

    name: str
    host: str = '%'
    password: str | None = dataclasses.field(default=None, repr=False)
    databases: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class UserChange:
    """What of an account is to be another; ``None``: stays."""

    name: str | None = None
    host: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list that is ordered by name.

    :ivar next_marker: what to ask for the items after these; ``None``: no more.  Of a
        database its name, of a user ``name@host``.
    """

    items: tuple[Item, ...]
    next_marker: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """The account that an operator of the database may be given."""

    name: str
    password: str = dataclasses.field(repr=False)
    host: str = '%'


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the server as it is.

    :ivar value: in effect now, as the server writes it; ``None``: it is not running.
    :ivar override: what was set by ``config_set``; ``None``: nothing.
    :ivar kind: ``boolean``, ``integer``, ``float``, ``string``, ``enum`` or ``set``.
    :ivar choices: of ``enum`` and ``set``.
    :ivar dynamic: whether it can change without a restart.
    :ivar restart_required: the override counts after the next start only.
    """

    name: str
    value: str | None
    override: Value | None
    kind: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False
    restart_required: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What became of overrides.

    :ivar applied: names of those in effect now.
    :ivar restart_required: names of those that count after the next start.
    """

    applied: tuple[str, ...] = ()
    restart_required: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What a replica must know of its source.

    :ivar position: from where to go on, in the engine's own words: of MariaDB a GTID
        position, of PostgreSQL an LSN; ``''``: from where the restored backup ends.
    :ivar slot: the name of what the source keeps for this replica, where it does.
    :ivar tls: whether to come to it by TLS.
    :ivar ca: what has signed its certificate, in PEM, which is checked then; ``''``: it
        is not checked.
    """

    host: str
    port: int
    user: str
    password: str = dataclasses.field(repr=False)
    position: str = ''
    slot: str = ''
    tls: bool = False
    ca: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Replication:
    """How replication goes.

    :ivar running: of a replica: it receives and applies.
    :ivar lag: seconds behind the source; ``None``: not known, or not a replica.
    :ivar source: ``host:port`` of a replica's source, else ``''``.
    :ivar position: the last transaction that is applied here.
    :ivar error: what stopped a replica, in the server's words.
    """

    role: Role
    running: bool = False
    lag: float | None = None
    source: str = ''
    position: str = ''
    read_only: bool = False
    replicas: int = 0
    error: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Transaction:
    """The last transaction, comparable between replicas of one source.

    :ivar source: the id of the server that it comes from.
    :ivar number: grows with each transaction of that source.
    """

    source: str
    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """A log file of the server.

    :ivar kind: ``USER``: it is switched on and off; ``SYS``: it is always on.
    :ivar path: empty or missing as long as nothing was logged.
    """

    name: str
    kind: Literal['USER', 'SYS']
    enabled: bool
    path: pathlib.Path


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    """How the server speaks TLS.

    :ivar mode: ``off``; ``on``: clients may; ``required``: clients must.
    :ivar certificate: of the server, in PEM; ``''`` when off.
    :ivar expires: UNIX seconds; ``None`` when off.
    :ivar self_signed: made here.
    """

    mode: Literal['off', 'on', 'required']
    certificate: str = ''
    ca: str = ''
    expires: int | None = None
    self_signed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class TlsFiles:
    """A server's certificate with its key and who signed it, in PEM."""

    certificate: str
    key: str = dataclasses.field(repr=False)
    ca: str = ''
