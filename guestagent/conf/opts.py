# SPDX-License-Identifier: Apache-2.0
"""What oslo-config-generator asks for, to make the samples in etc/guestagent."""

from typing import Any


def list_common_opts() -> list[tuple[str, list[Any]]]:
    """Return the options of both as (section, options)."""
    from guestagent.conf import common, seal

    return [
        ('DEFAULT', common.OPTIONS),
        ('metrics', common.METRICS),
        (seal.SECTION, seal.KEYS),
    ]


def list_agent_opts() -> list[tuple[str, list[Any]]]:
    """Return the agent's own options as (section, options)."""
    from guestagent.conf import agent

    return [('DEFAULT', agent.OPTIONS), *agent.SECTIONS]


def list_conductor_opts() -> list[tuple[str, list[Any]]]:
    """Return the conductor's own options as (section, options)."""
    from guestagent.conf import conductor

    return list(conductor.SECTIONS)


def list_ctl_opts() -> list[tuple[str, list[Any]]]:
    """Return the options of guestctl as (section, options)."""
    from guestagent.conf import ctl, enroll, seal

    return [
        ('DEFAULT', ctl.OPTIONS),
        (seal.SECTION, seal.KEYS),
        (enroll.SECTION, enroll.CTL),
    ]
