# SPDX-License-Identifier: Apache-2.0
"""What makes two reports of an event the same: an id that the guest gave it."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    """Add the column; what is there is known by what it was known by until now."""
    with op.batch_alter_table('events') as table:
        table.add_column(sa.Column('report', sa.String(64)))
    events = sa.table('events', *map(sa.column, ('report', 'generation', 'sequence')))
    op.execute(
        sa.update(events)
        .where(events.c.generation.is_not(None))
        .values(
            report=sa.cast(events.c.generation, sa.String(20))
            + '-'
            + sa.cast(events.c.sequence, sa.String(20))
        )
    )
    with op.batch_alter_table('events') as table:
        table.drop_constraint('uq_events_report', type_='unique')
        table.create_unique_constraint('uq_events_report', ['instance', 'report'])
