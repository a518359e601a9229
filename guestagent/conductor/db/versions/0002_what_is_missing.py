# SPDX-License-Identifier: Apache-2.0
"""What facts are missing, who has been asked for them, and who has a double."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'

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
    """Add the columns and the table; a generation is now told by its boot too."""
    _instances()
    _generations()
    pace = op.create_table(
        'pace',
        sa.Column('name', sa.String(32), primary_key=True),
        sa.Column('until', sa.Double, nullable=False),
        **_OPTIONS,
    )
    op.bulk_insert(pace, [{'name': 'asks', 'until': 0.0}])


def _instances() -> None:
    for column in (
        sa.Column('heartbeat_candidate', sa.BigInteger),
        sa.Column('facts_newest', sa.Integer, nullable=False, server_default='0'),
        sa.Column('facts_ranges', sa.String(1000)),
        sa.Column('facts_candidate', sa.BigInteger),
        sa.Column('facts_gap', sa.Double),
        sa.Column('rival_generation', sa.Integer),
        sa.Column('rival_sequence', sa.BigInteger),
        sa.Column('rival_boot_id', sa.String(255)),
        sa.Column('rival_since', sa.Double),
        sa.Column('rival_seen', sa.Double),
        sa.Column('conflict', sa.Double),
        sa.Column('conflict_told', sa.Double),
        sa.Column('asked', sa.Double),
    ):
        op.add_column('instances', column)
    op.create_index('ix_instances_facts_gap', 'instances', ['facts_gap'])
    _take_facts_for_complete()
    if op.get_context().dialect.name == 'postgresql':
        # Each heartbeat writes its row anew: on the same page if there is room.
        op.execute('ALTER TABLE instances SET (fillfactor = 50)')


def _take_facts_for_complete() -> None:
    """Let what is known count as complete: nothing says that it is not."""
    instances = sa.table(
        'instances',
        *map(sa.column, ('id', 'facts_generation', 'facts_newest')),
        sa.column('facts_ranges', sa.String),
        sa.column('facts_sequence', sa.BigInteger),
    )
    facts = sa.table('facts', *map(sa.column, ('instance', 'generation', 'sequence')))
    newest = (
        sa.select(sa.func.max(facts.c.sequence))
        .where(
            facts.c.instance == instances.c.id,
            facts.c.generation == instances.c.facts_generation,
        )
        .scalar_subquery()
    )
    first = sa.cast(instances.c.facts_sequence, sa.String(20))
    last = sa.cast(sa.func.coalesce(newest, instances.c.facts_sequence), sa.String(20))
    op.execute(
        sa.update(instances)
        .where(instances.c.facts_sequence > 0)
        .values(
            facts_newest=instances.c.facts_generation, facts_ranges=first + '-' + last
        )
    )


def _generations() -> None:
    with op.batch_alter_table('generations') as table:
        table.add_column(
            sa.Column('boot_id', sa.String(255), nullable=False, server_default='')
        )
        table.drop_constraint('uq_generations_generation', type_='unique')
        table.create_unique_constraint(
            'uq_generations_generation', ['instance', 'generation', 'boot_id']
        )
    # Those that live keep their number; the others are over.
    op.execute(
        'UPDATE generations SET boot_id = COALESCE((SELECT instances.boot_id FROM '
        'instances WHERE instances.id = generations.instance AND '
        "instances.heartbeat_generation = generations.number), '')"
    )
