# SPDX-License-Identifier: Apache-2.0
"""Where the audit logs of guests end, and where they ended."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'

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
    """Add the columns and the table."""
    for column in (
        sa.Column('audit_length', sa.BigInteger),
        sa.Column('audit_head', sa.String(64)),
        sa.Column('audit_kept', sa.Double),
    ):
        op.add_column('instances', column)
    counter = sa.BigInteger().with_variant(sa.Integer, 'sqlite')
    op.create_table(
        'audit_heads',
        sa.Column('id', counter, primary_key=True, autoincrement=True),
        sa.Column('instance', sa.String(200), nullable=False),
        sa.Column('length', sa.BigInteger, nullable=False),
        sa.Column('head', sa.String(64), nullable=False),
        sa.Column('received', sa.Double, nullable=False),
        **_OPTIONS,
    )
    op.create_index('ix_audit_heads_received', 'audit_heads', ['received'])
    op.create_index('ix_audit_heads_page', 'audit_heads', ['instance', 'id'])
