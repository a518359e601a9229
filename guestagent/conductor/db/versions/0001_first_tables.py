# SPDX-License-Identifier: Apache-2.0
"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0001'
down_revision = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer, 'sqlite')
_TEXT = sa.Text().with_variant(mysql.LONGTEXT, 'mysql', 'mariadb')
_OPTIONS: dict[str, Any] = {
    f'{dialect}_{name}': value
    for dialect in ('mysql', 'mariadb')
    for name, value in (
        ('engine', 'InnoDB'),
        ('charset', 'utf8mb4'),
        ('collate', 'utf8mb4_bin'),
    )
}


def upgrade() -> None:
    """Make all tables."""
    _instances()
    _what_instances_have()
    _commands()
    _events()


def _instances() -> None:
    op.create_table(
        'instances',
        sa.Column('id', sa.String(200), primary_key=True),
        sa.Column('state', sa.String(8), nullable=False, index=True),
        sa.Column('first_seen', sa.Double, nullable=False),
        sa.Column('last_seen', sa.Double, nullable=False),
        sa.Column('generations', sa.Integer, nullable=False),
        sa.Column('heartbeat_generation', sa.Integer, nullable=False),
        sa.Column('heartbeat_sequence', sa.BigInteger, nullable=False),
        sa.Column('boot_id', sa.String(255)),
        sa.Column('agent_version', sa.String(64)),
        sa.Column('started', sa.Double),
        sa.Column('heartbeat_interval', sa.Double),
        sa.Column('dropped', sa.BigInteger),
        sa.Column('extensions_digest', sa.String(64)),
        sa.Column('down_at', sa.Double),
        sa.Column('facts_generation', sa.Integer, nullable=False),
        sa.Column('facts_sequence', sa.BigInteger, nullable=False),
        sa.Column('sweep', sa.String(32)),
        **_OPTIONS,
    )
    op.create_table(
        'generations',
        sa.Column('id', _COUNTER, primary_key=True, autoincrement=True),
        sa.Column('instance', sa.String(200), nullable=False),
        sa.Column('generation', sa.String(200), nullable=False),
        sa.Column('number', sa.Integer, nullable=False),
        sa.Column('met', sa.Double, nullable=False, index=True),
        sa.UniqueConstraint('instance', 'generation', name='uq_generations_generation'),
        sa.UniqueConstraint('instance', 'number', name='uq_generations_number'),
        **_OPTIONS,
    )


def _what_instances_have() -> None:
    op.create_table(
        'extensions',
        sa.Column('instance', sa.String(200), primary_key=True),
        sa.Column('name', sa.String(255), primary_key=True),
        sa.Column('version', sa.String(64)),
        sa.Column('health', _TEXT, nullable=False),
        sa.Column('distribution', sa.String(255)),
        sa.Column('distribution_version', sa.String(64)),
        **_OPTIONS,
    )
    op.create_table(
        'facts',
        sa.Column('instance', sa.String(200), primary_key=True),
        sa.Column('name', sa.String(255), primary_key=True),
        sa.Column('generation', sa.Integer, nullable=False),
        sa.Column('sequence', sa.BigInteger, nullable=False),
        sa.Column('value', _TEXT),
        sa.Column('updated', sa.Double, nullable=False),
        **_OPTIONS,
    )


def _commands() -> None:
    op.create_table(
        'commands',
        sa.Column('id', _COUNTER, primary_key=True, autoincrement=True),
        sa.Column('instance', sa.String(200), nullable=False),
        sa.Column('caller', sa.String(255), nullable=False),
        sa.Column('command_id', sa.String(64), nullable=False),
        sa.Column('digest', sa.String(64), nullable=False),
        sa.Column('generation', sa.Integer, nullable=False),
        sa.Column('sequence', sa.BigInteger, nullable=False),
        sa.Column('command', sa.String(255), nullable=False),
        sa.Column('outcome', sa.String(16), nullable=False),
        sa.Column('result', _TEXT, nullable=False),
        sa.Column('error', _TEXT, nullable=False),
        sa.Column('started', sa.Double),
        sa.Column('seconds', sa.Double),
        sa.Column('received', sa.Double, nullable=False, index=True),
        sa.UniqueConstraint(
            'instance', 'caller', 'command_id', 'digest', name='uq_commands_command'
        ),
        **_OPTIONS,
    )
    op.create_index('ix_commands_page', 'commands', ['instance', 'id'])


def _events() -> None:
    op.create_table(
        'events',
        sa.Column('id', _COUNTER, primary_key=True, autoincrement=True),
        sa.Column('instance', sa.String(200), nullable=False),
        sa.Column('generation', sa.Integer),
        sa.Column('sequence', sa.BigInteger),
        sa.Column('type', sa.String(255), nullable=False),
        sa.Column('at', sa.Double, nullable=False),
        sa.Column('received', sa.Double, nullable=False, index=True),
        sa.Column('data', _TEXT, nullable=False),
        sa.UniqueConstraint(
            'instance', 'generation', 'sequence', name='uq_events_report'
        ),
        **_OPTIONS,
    )
    op.create_index('ix_events_page', 'events', ['instance', 'id'])
