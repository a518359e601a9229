# SPDX-License-Identifier: Apache-2.0
"""``datastore``: one database server in the guest; made of groups of commands."""

from __future__ import annotations

from guestagent_datastore.commands import prepare


class Datastore(prepare.Prepare):
    """Answers ``datastore.<verb>``; doc/datastore.rst has them all."""
