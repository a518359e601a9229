# SPDX-License-Identifier: Apache-2.0
"""What oslo-config-generator asks for, to make the samples in etc/guestagent."""

from typing import Any


def list_agent_opts() -> list[tuple[str, list[Any]]]:
    """Return the agent's options as (section, options)."""
    from guestagent.conf import agent, common
    return [('DEFAULT', [*common.OPTIONS, *agent.OPTIONS]), *agent.SECTIONS]


def list_conductor_opts() -> list[tuple[str, list[Any]]]:
    """Return the conductor's options as (section, options)."""
    from guestagent.conf import common, conductor
    return [('DEFAULT', common.OPTIONS), *conductor.SECTIONS]
