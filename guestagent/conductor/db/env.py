# SPDX-License-Identifier: Apache-2.0
"""What alembic runs: the migrations, on the connection that ``engine`` gives."""

from alembic import context

from guestagent.conductor.db import tables

context.configure(
    connection=context.config.attributes['connection'], target_metadata=tables.metadata
)
context.run_migrations()
