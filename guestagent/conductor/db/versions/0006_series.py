# SPDX-License-Identifier: Apache-2.0
"""Numbers of facts as they were, for a while."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'

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
    """Add the table."""
    counter = sa.BigInteger().with_variant(sa.Integer, 'sqlite')
    op.create_table(
        'points',
        sa.Column('id', counter, primary_key=True, autoincrement=True),
        sa.Column('instance', sa.String(200), nullable=False),
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('at', sa.Double, nullable=False, index=True),
        sa.Column('value', sa.Double, nullable=False),
        **_OPTIONS,
    )
    op.create_index('ix_points_page', 'points', ['instance', 'at'])
