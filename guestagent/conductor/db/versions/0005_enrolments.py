# SPDX-License-Identifier: Apache-2.0
"""Which guests may come for their keys, and which were cut off."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0005'
down_revision = '0004'

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
    text = sa.Text().with_variant(mysql.LONGTEXT, 'mysql', 'mariadb')
    op.create_table(
        'enrolments',
        sa.Column('name', sa.String(200), primary_key=True),
        sa.Column('stamp', sa.BigInteger, nullable=False, index=True),
        sa.Column('vhost', sa.String(255), nullable=False),
        sa.Column('verify_key', sa.String(64)),
        sa.Column('bundle', text),
        sa.Column('expires', sa.Double),
        sa.Column('taken_by', sa.String(64)),
        sa.Column('revoked', sa.Double),
        **_OPTIONS,
    )
