# SPDX-License-Identifier: Apache-2.0
"""The options of the agent: what it serves, where, and within which limits."""

from typing import Any

from oslo_config import cfg

from guestagent.bus import topics
from guestagent.conf import audit, common, enroll, policy, rabbit, seal

#: The extensions that are loaded unless the configuration says otherwise.
EXTENSIONS = ('exec', 'monitoring')

#: The packaged agent.conf has sections of these, whether they are installed or not.
PACKAGED = (
    'accounts',
    'datastore',
    'exec',
    'file',
    'fsfreeze',
    'hardware',
    'power',
    'sso',
)

#: Those whose sections may stand in any agent's file.
CHANNELS = ('qga',)

OPTIONS = [
    cfg.StrOpt(
        'transport_url',
        default='rabbit://',
        secret=True,
        help='The bus, as oslo.messaging writes it: '
        'rabbit://user:password@host:port[,user:password@host2:port]/vhost'
        '. The special characters of a password are percent-encoded. '
        'channel:// and an absolute path: a hub in that folder, with no broker.',
    ),
    cfg.StrOpt(
        'control_exchange',
        default=topics.CONTROL_EXCHANGE,
        help='The exchange of the requests. Control planes that use another '
        'default than this project (Trove: "trove") need it here.',
    ),
    cfg.StrOpt(
        'instance_id',
        default=None,
        help='The name of this guest, 1 to 200 of A-Z a-z 0-9 _ . -. Unset: '
        'the instance id of cloud-init, else the UUID that the firmware '
        'names, else /etc/machine-id.',
    ),
    cfg.StrOpt(
        'state_dir',
        default='/var/lib/guestagent',
        help='The folder in which the agent keeps what must survive a crash. Only '
        'one agent may use it, on a disk of the guest; it is made if it is missing.',
    ),
    cfg.StrOpt(
        'user',
        default='',
        help='The user that the agent becomes once it has read its configuration, by '
        'name or number; it must be started as root. The folder of its state '
        "becomes that user's. Unset: it stays who it is.",
    ),
    cfg.ListOpt(
        'enabled_extensions',
        default=list(EXTENSIONS),
        mutable=True,
        help='The extensions to load, by the names of their entry points in '
        'the group guestagent.extensions. No other is loaded. One that is added is '
        'loaded when the agent is told to read its files again; one that is taken '
        'away goes on until the agent ends.',
    ),
    cfg.ListOpt(
        'enabled_channels',
        default=[],
        help='The channels to load, by the names of their entry points in the group '
        'guestagent.channels: ways into the agent beside its bus, for clients with a '
        'protocol of their own. Who has the other end of one commands in its name, '
        'without keys.',
    ),
    cfg.BoolOpt(
        'require_extensions',
        default=False,
        help='Whether an extension that is missing or fails to load stops '
        'the start. Otherwise the agent runs without it and says so in '
        'its log and in each heartbeat.',
    ),
    cfg.IntOpt(
        'graceful_shutdown_timeout',
        default=20,
        min=0,
        max=3600,
        mutable=True,
        help='How many seconds running commands may take to end when the '
        'agent is stopped; then they are cancelled.',
    ),
]

DISPATCHER = [
    cfg.IntOpt(
        'workers',
        default=8,
        min=1,
        max=256,
        help='How many commands run at once. Threads start on demand and end '
        'when idle.',
    ),
    cfg.IntOpt(
        'backlog',
        default=128,
        min=0,
        max=10000,
        help='How many commands wait for a worker. A request beyond that is '
        'answered with Busy.',
    ),
    cfg.IntOpt(
        'max_result_size',
        default=16 * 1024 * 1024,
        min=1024,
        max=128 * 1024 * 1024,
        help='The largest result of a command, in bytes of JSON.',
    ),
]

REPORTS = [
    cfg.BoolOpt(
        'conductor',
        default=True,
        help='Whether a guestagent-conductor takes the reports of this guest. Without '
        'one nothing is reported: where the control plane has a conductor of its own '
        'an extension tells that (Trove).',
    ),
    cfg.FloatOpt(
        'heartbeat_interval',
        default=30,
        min=0.2,
        max=3600,
        mutable=True,
        help='How many seconds lie between two heartbeats. The conductor '
        'calls a guest DOWN after three of them.',
    ),
    cfg.FloatOpt(
        'statistics_interval',
        default=300,
        min=0,
        mutable=True,
        help='After how many seconds the agent reports anew, as facts that begin with '
        '"agent.", how much it takes and does. 0: never.',
    ),
    cfg.FloatOpt(
        'splay',
        default=5.0,
        min=0.0,
        max=300.0,
        help='After a reconnect all facts and a heartbeat are sent within a random '
        'part of so many seconds, and of one heartbeat_interval at most, so that a '
        'fleet that comes back does not speak at once.',
    ),
]

SPOOL = [
    cfg.IntOpt(
        'max_reports',
        default=10000,
        min=10,
        max=1000000,
        deprecated_name='spool_size',
        deprecated_group='reports',
        help='How many outcomes and events wait while the bus is away; beyond that '
        'the oldest events are dropped first, then the oldest outcomes.',
    ),
    cfg.IntOpt(
        'max_size',
        default=16 * 1024 * 1024,
        min=65536,
        max=1024 * 1024 * 1024,
        help='How many bytes of JSON they may take. The file in state_dir is at most '
        'about twice as large.',
    ),
    cfg.FloatOpt(
        'send_rate',
        default=100.0,
        min=0.1,
        max=100000.0,
        help='How many of those that have waited are sent in a second, once the bus '
        'is back.',
    ),
]

JOURNAL = [
    cfg.IntOpt(
        'max_commands',
        default=1000,
        min=10,
        max=1000000,
        help='How many commands that change the guest are remembered, with their '
        'outcomes, so that a repeat does not run again. Of the oldest, those are '
        'forgotten whose outcome has arrived.',
    ),
    cfg.IntOpt(
        'max_size',
        default=64 * 1024 * 1024,
        min=1024 * 1024,
        max=16 * 1024 * 1024 * 1024,
        help='How many bytes they may take on the disk. The file is at most about '
        'twice as large for a while.',
    ),
    cfg.FloatOpt(
        'retention',
        default=604800,
        min=60,
        max=315360000,
        help='For how many seconds they are remembered. Only time in which this '
        'agent runs counts, and no clock that may be set.',
    ),
]

BUS = [
    cfg.StrOpt(
        'driver',
        default='amqp',
        choices=[
            ('amqp', 'RabbitMQ, by code of this project: the light one.'),
            (
                'reference',
                'The real oslo.messaging, with whatever transport_url names of its '
                'transports; takes about 11 MiB more memory. It must be installed '
                '(guestagent[reference]).',
            ),
        ],
        help='What carries the messages.',
    ),
    cfg.IntOpt(
        'max_message_size',
        default=16 * 1024 * 1024,
        min=65536,
        max=128 * 1024 * 1024,
        help='The largest request that is read, in bytes. A larger one is not kept '
        'in memory, and is answered with RequestTooLarge where its end says who '
        'asks. (The driver reference has no such limit.)',
    ),
]

FREEZE = [
    cfg.StrOpt(
        'folder',
        default='/run/guestagent/held',
        help='Where the agent writes while the file system of state_dir is frozen: a '
        'folder in memory (tmpfs), made if it is missing.',
    ),
    cfg.IntOpt(
        'size',
        default=16 * 1024 * 1024,
        min=1024 * 1024,
        max=1024 * 1024 * 1024,
        help='How many bytes that may take. When it is full, commands that change the '
        'guest are refused until the thaw, and reports wait in memory.',
    ),
]

SECTIONS: list[tuple[str, list[Any]]] = [
    ('dispatcher', DISPATCHER),
    ('reports', REPORTS),
    ('journal', JOURNAL),
    ('spool', SPOOL),
    ('policy', policy.OPTIONS),
    ('audit', audit.OPTIONS),
    ('freeze', FREEZE),
    ('bus', BUS),
    (seal.SECTION, seal.AGENT),
    (enroll.SECTION, enroll.AGENT),
    (rabbit.SECTION, rabbit.OPTIONS),
]


def unread_channels(conf: Any) -> set[str]:
    """Return the sections that may stand in a file though no channel reads them."""
    return set(CHANNELS).difference(conf.enabled_channels)


def register(conf: Any) -> None:
    """Register all options of the agent on ``conf``."""
    common.register(conf)
    conf.register_cli_opts(policy.SWITCHES)
    conf.register_cli_opts(enroll.SWITCHES)
    conf.register_opts(OPTIONS)
    for section, options in SECTIONS:
        conf.register_opts(options, group=section)
