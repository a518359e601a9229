# SPDX-License-Identifier: Apache-2.0
"""``trove``: what Trove's control plane asks of a guest; made of groups of commands."""

from __future__ import annotations

from guestagent_trove.commands import (
    accounts,
    configuration,
    life,
    logs,
    replication,
    tls,
)


class Trove(
    life.Life,
    accounts.Accounts,
    configuration.Configuration,
    replication.Replication,
    logs.Logs,
    tls.Tls,
):
    """Answers all methods of Trove's guest API, versions 1.0 to 1.3."""
