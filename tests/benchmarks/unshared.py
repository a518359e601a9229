# SPDX-License-Identifier: Apache-2.0
"""Run the agent without group commit: no two commands share a sync of the disk.

It stands beside the agent as it is, and is of no use elsewhere.
"""

import sys
from typing import Any

from guestagent.agent import batches
from guestagent.agent.journal import commits
from guestagent.cmd import agent

_TAKE = batches.Batches.take


def _take_one(self: batches.Batches[Any], most: int | None = None) -> list[Any]:
    return _TAKE(self, 1)


def _sync_alone(self: commits.Commits, ticket: int) -> None:
    with self.pause():
        self._sync()


if __name__ == '__main__':
    batches.Batches.take = _take_one
    commits.Commits.wait = _sync_alone
    sys.exit(agent.main())
