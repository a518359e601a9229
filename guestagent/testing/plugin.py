# SPDX-License-Identifier: Apache-2.0
"""The fixtures that pytest finds where this package is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # pytest loads this in each run: what a run does not use, it need not import.
    from guestagent import extension
    from guestagent.testing import agent, conductor, host


@pytest.fixture
def guestagent_host() -> host.Host:
    """What records the facts and events of the extensions that it is given to."""
    from guestagent.testing import host

    return host.Host()


@pytest.fixture
def guestagent_agent() -> Iterator[Callable[..., agent.Agent]]:
    """``guestagent_agent(uptime=Uptime, options={section: {name: value}})``.

    Starts an agent in the test's own process; it is stopped after the test.
    """
    from guestagent.testing import agent

    with contextlib.ExitStack() as stack:

        def start(
            *,
            options: agent.Options | None = None,
            conductor: conductor.Conductor | None = None,
            **extensions: type[extension.Extension],
        ) -> agent.Agent:
            made = agent.Agent(extensions, options=options, conductor=conductor)
            return stack.enter_context(made)

        yield start
