# SPDX-License-Identifier: Apache-2.0
"""The tables, for SQLite, PostgreSQL and MariaDB alike.

Times are UNIX seconds by the conductor's clock, but for ``started`` and ``at``, which
are the guest's.  What a guest may shape as it likes (facts, results, an event's data)
is kept as JSON text.  A *generation* here is the number that the conductor gave to it;
(generation, sequence) is the order of reports of one kind.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

INSTANCE_LENGTH = 200
GENERATION_LENGTH = 200
NAME_LENGTH = 255
VERSION_LENGTH = 64
RANGES_LENGTH = 1000
REPORT_LENGTH = 64
DIGEST_LENGTH = 64

metadata = sa.MetaData()

#: SQLite counts rows by itself only in a column of exactly this type.
_Counter = sa.BigInteger().with_variant(sa.Integer, 'sqlite')
#: MariaDB's TEXT ends at 64 KiB.
_Text = sa.Text().with_variant(mysql.LONGTEXT, 'mysql', 'mariadb')

#: Instance ids and fact keys that differ in case are different everywhere.
_OPTIONS: dict[str, Any] = {
    f'{dialect}_{name}': value
    for dialect in ('mysql', 'mariadb')
    for name, value in (
        ('engine', 'InnoDB'),
        ('charset', 'utf8mb4'),
        ('collate', 'utf8mb4_bin'),
    )
}

#: One row for each instance; its columns are the fields of ``state.Instance``.
instances = sa.Table(
    'instances',
    metadata,
    sa.Column('id', sa.String(INSTANCE_LENGTH), primary_key=True),
    sa.Column('state', sa.String(8), nullable=False, index=True),
    sa.Column('first_seen', sa.Double, nullable=False),
    sa.Column('last_seen', sa.Double, nullable=False),
    # How many generations were met: the number of the newest.
    sa.Column('generations', sa.Integer, nullable=False),
    # The newest heartbeat, and what it said.
    sa.Column('heartbeat_generation', sa.Integer, nullable=False),
    sa.Column('heartbeat_sequence', sa.BigInteger, nullable=False),
    sa.Column('boot_id', sa.String(NAME_LENGTH)),
    sa.Column('agent_version', sa.String(VERSION_LENGTH)),
    sa.Column('started', sa.Double),
    sa.Column('heartbeat_interval', sa.Double),
    sa.Column('dropped', sa.BigInteger),
    sa.Column('extensions_digest', sa.String(DIGEST_LENGTH)),
    # When it is DOWN unless another heartbeat comes.  No index: it changes with each.
    sa.Column('down_at', sa.Double),
    # The newest full report of facts; older changes count no more.
    sa.Column('facts_generation', sa.Integer, nullable=False),
    sa.Column('facts_sequence', sa.BigInteger, nullable=False),
    # The sweep that found it DOWN.
    sa.Column('sweep', sa.String(32)),
    # Sequences too far from the others to be believed before another follows.
    sa.Column('heartbeat_candidate', sa.BigInteger),
    sa.Column('facts_candidate', sa.BigInteger),
    # The newest generation that reported facts, and which of its reports were taken,
    # from the newest full one on: the text of ``order.Ranges``.
    sa.Column('facts_newest', sa.Integer, nullable=False, server_default='0'),
    sa.Column('facts_ranges', sa.String(RANGES_LENGTH)),
    # Since when facts are missing, and when they were last asked for.
    sa.Column('facts_gap', sa.Double, index=True),
    sa.Column('asked', sa.Double),
    # The older generation that is still heard; since when, and when last.
    sa.Column('rival_generation', sa.Integer),
    sa.Column('rival_sequence', sa.BigInteger),
    sa.Column('rival_boot_id', sa.String(NAME_LENGTH)),
    sa.Column('rival_since', sa.Double),
    sa.Column('rival_seen', sa.Double),
    # Since when two agents have this name, and when an event last said so.
    sa.Column('conflict', sa.Double),
    sa.Column('conflict_told', sa.Double),
    # Where its audit log ends, and when a row of ``audit_heads`` was last made.
    sa.Column('audit_length', sa.BigInteger),
    sa.Column('audit_head', sa.String(64)),
    sa.Column('audit_kept', sa.Double),
    # Each heartbeat writes its row anew: on the same page if there is room.
    postgresql_with={'fillfactor': 50},
    **_OPTIONS,
)

generations = sa.Table(
    'generations',
    metadata,
    sa.Column('id', _Counter, primary_key=True, autoincrement=True),
    sa.Column('instance', sa.String(INSTANCE_LENGTH), nullable=False),
    sa.Column('generation', sa.String(GENERATION_LENGTH), nullable=False),
    sa.Column('number', sa.Integer, nullable=False),
    sa.Column('met', sa.Double, nullable=False, index=True),
    # Within a generation it cannot change: another boot is another generation.
    sa.Column('boot_id', sa.String(NAME_LENGTH), nullable=False, server_default=''),
    sa.UniqueConstraint(
        'instance', 'generation', 'boot_id', name='uq_generations_generation'
    ),
    sa.UniqueConstraint('instance', 'number', name='uq_generations_number'),
    **_OPTIONS,
)

extensions = sa.Table(
    'extensions',
    metadata,
    sa.Column('instance', sa.String(INSTANCE_LENGTH), primary_key=True),
    sa.Column('name', sa.String(NAME_LENGTH), primary_key=True),
    # NULL: it did not load, and its health says why.
    sa.Column('version', sa.String(VERSION_LENGTH)),
    sa.Column('health', _Text, nullable=False),
    sa.Column('distribution', sa.String(NAME_LENGTH)),
    sa.Column('distribution_version', sa.String(VERSION_LENGTH)),
    **_OPTIONS,
)

facts = sa.Table(
    'facts',
    metadata,
    sa.Column('instance', sa.String(INSTANCE_LENGTH), primary_key=True),
    sa.Column('name', sa.String(NAME_LENGTH), primary_key=True),
    sa.Column('generation', sa.Integer, nullable=False),
    sa.Column('sequence', sa.BigInteger, nullable=False),
    # NULL: removed, and remembered so that an older report does not bring it back.
    sa.Column('value', _Text),
    sa.Column('updated', sa.Double, nullable=False),
    **_OPTIONS,
)

#: Outcomes; the same command has one.
commands = sa.Table(
    'commands',
    metadata,
    sa.Column('id', _Counter, primary_key=True, autoincrement=True),
    sa.Column('instance', sa.String(INSTANCE_LENGTH), nullable=False),
    sa.Column('caller', sa.String(NAME_LENGTH), nullable=False),
    sa.Column('command_id', sa.String(64), nullable=False),
    sa.Column('digest', sa.String(64), nullable=False),
    sa.Column('generation', sa.Integer, nullable=False),
    sa.Column('sequence', sa.BigInteger, nullable=False),
    sa.Column('command', sa.String(NAME_LENGTH), nullable=False),
    sa.Column('outcome', sa.String(16), nullable=False),
    sa.Column('result', _Text, nullable=False),
    sa.Column('error', _Text, nullable=False),
    sa.Column('started', sa.Double),
    sa.Column('seconds', sa.Double),
    sa.Column('received', sa.Double, nullable=False, index=True),
    sa.UniqueConstraint(
        'instance', 'caller', 'command_id', 'digest', name='uq_commands_command'
    ),
    **_OPTIONS,
)
sa.Index('ix_commands_page', commands.c.instance, commands.c.id)

events = sa.Table(
    'events',
    metadata,
    sa.Column('id', _Counter, primary_key=True, autoincrement=True),
    sa.Column('instance', sa.String(INSTANCE_LENGTH), nullable=False),
    # NULL in the conductor's own events, as are the two below.
    sa.Column('report', sa.String(REPORT_LENGTH)),
    sa.Column('generation', sa.Integer),
    sa.Column('sequence', sa.BigInteger),
    sa.Column('type', sa.String(NAME_LENGTH), nullable=False),
    sa.Column('at', sa.Double, nullable=False),
    sa.Column('received', sa.Double, nullable=False, index=True),
    sa.Column('data', _Text, nullable=False),
    sa.UniqueConstraint('instance', 'report', name='uq_events_report'),
    **_OPTIONS,
)
sa.Index('ix_events_page', events.c.instance, events.c.id)

#: Where the audit logs of guests ended, to be compared with the logs.
audit_heads = sa.Table(
    'audit_heads',
    metadata,
    sa.Column('id', _Counter, primary_key=True, autoincrement=True),
    sa.Column('instance', sa.String(INSTANCE_LENGTH), nullable=False),
    sa.Column('length', sa.BigInteger, nullable=False),
    sa.Column('head', sa.String(64), nullable=False),
    sa.Column('received', sa.Double, nullable=False, index=True),
    **_OPTIONS,
)
sa.Index('ix_audit_heads_page', audit_heads.c.instance, audit_heads.c.id)

#: Who may come for its keys, and who was cut off.  Its key is no column ``instance``: a
#: guest that was cut off is so though it is forgotten.
enrolments = sa.Table(
    'enrolments',
    metadata,
    sa.Column('name', sa.String(INSTANCE_LENGTH), primary_key=True),
    # Milliseconds by the operator's clock: what is older than this changes nothing.
    sa.Column('stamp', sa.BigInteger, nullable=False, index=True),
    # The virtual host in which it is alone; '': it is in that of all.
    sa.Column('vhost', sa.String(NAME_LENGTH), nullable=False),
    # What proves its token, what it is exchanged for, and until when.
    sa.Column('verify_key', sa.String(64)),
    sa.Column('bundle', _Text),
    sa.Column('expires', sa.Double),
    # The public key of who has taken it.
    sa.Column('taken_by', sa.String(64)),
    sa.Column('revoked', sa.Double),
    **_OPTIONS,
)

#: Numbers of facts as they were, each when it became another one.
points = sa.Table(
    'points',
    metadata,
    sa.Column('id', _Counter, primary_key=True, autoincrement=True),
    sa.Column('instance', sa.String(INSTANCE_LENGTH), nullable=False),
    sa.Column('name', sa.String(NAME_LENGTH), nullable=False),
    sa.Column('at', sa.Double, nullable=False, index=True),
    sa.Column('value', sa.Double, nullable=False),
    **_OPTIONS,
)
sa.Index('ix_points_page', points.c.instance, points.c.at)

#: What all conductors together do no faster than at some rate, a row for each.
pace = sa.Table(
    'pace',
    metadata,
    sa.Column('name', sa.String(32), primary_key=True),
    # All that was allowed before this time is used up.
    sa.Column('until', sa.Double, nullable=False),
    **_OPTIONS,
)
