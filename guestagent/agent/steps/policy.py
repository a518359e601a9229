# SPDX-License-Identifier: Apache-2.0
"""Refuse what the guest's policy does not allow (doc/policy.rst)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from guestagent.agent import request as requests
from guestagent.agent import steps

if TYPE_CHECKING:
    from guestagent.agent.policy import judge as judges

LOG = logging.getLogger(__name__)


class Policy(steps.Step):
    """Asks the judge; without one, everything passes.

    :ivar judge: may be replaced at any time.
    """

    def __init__(self, judge: judges.Judge | None = None) -> None:
        self.judge = judge

    def load(self, path: str, commands: Iterable[str]) -> None:
        """Let the rules in a file count from now on.

        :param path: ``''``: there are none.
        :param commands: those that this agent has.
        :raises guestagent.errors.ConfigError: there is a mistake in the file; the
            rules stay as they were.
        """
        if not path:
            LOG.warning(
                'no [policy] file is set: whoever gets a command as far as this agent '
                'may use it'
            )
            self.judge = None
            return
        # An agent without a policy does without them.
        from guestagent.agent.policy import files, judge

        found = files.load(path)
        self.judge = judge.Judge(found)
        LOG.info('policy: %d rules in %s', len(found), path)
        off = [name for name in commands if not found.expects(name)]
        if off:
            LOG.info('not among the expected commands, so refused: %s', ', '.join(off))

    def admit(self, request: requests.Request) -> None:
        """Judge caller, command and arguments.

        :raises guestagent.errors.Forbidden: no rule allows it.
        """
        if self.judge is not None:
            request.rule = self.judge.judge(request)

    def accept(self, request: requests.Request) -> steps.Known | None:
        """Judge what paths lead to; on the worker, because that looks at the disk.

        :raises guestagent.errors.Forbidden: as :meth:`admit`.
        """
        if self.judge is not None:
            self.judge.judge_links(request)
        return None
