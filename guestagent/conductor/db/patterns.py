# SPDX-License-Identifier: Apache-2.0
"""Match text against a pattern with ``*`` and ``?``, alike in all databases.

LIKE would do, but for SQLite it ignores the case of letters.
"""

from __future__ import annotations

import sqlalchemy as sa

_LIKE = str.maketrans({'*': '%', '?': '_', '%': '!%', '_': '!_', '!': '!!'})
#: GLOB knows ``*`` and ``?`` itself, and sets of characters, which are not meant.
_GLOB = str.maketrans({'[': '[[]'})


def matches(
    dialect: str, column: sa.ColumnElement[str], pattern: str
) -> sa.ColumnElement[bool]:
    """Return the condition that all of ``column`` is as ``pattern`` says.

    :param pattern: ``*`` stands for any text, ``?`` for one character, all else for
        itself.
    """
    if dialect == 'sqlite':
        return column.op('GLOB', is_comparison=True)(pattern.translate(_GLOB))
    return column.like(pattern.translate(_LIKE), escape='!')
