# SPDX-License-Identifier: Apache-2.0
"""What is measured in the agent's process and in one of its own."""

from typing import Any

from guestagent import extension

MIB = 2**20


class Echo(extension.Extension):
    """Returns what comes in."""

    @extension.command(mutates=False, timeout=60)
    def echo(self, context: extension.Context, value: Any) -> Any:
        """Return ``value``."""
        return value


class Hungry(Echo):
    """Takes 200 MiB first, and keeps them."""

    @extension.command(mutates=False, timeout=60)
    def echo(self, context: extension.Context, value: Any) -> Any:
        """Return ``value``."""
        self.kept = b'x' * (200 * MIB)
        return value
