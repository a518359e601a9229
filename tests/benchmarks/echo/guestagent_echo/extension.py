# SPDX-License-Identifier: Apache-2.0
"""Return what comes in, as the peers' endpoint does."""

from typing import Any

from guestagent import extension


class Echo(extension.Extension):
    """Answers ``echo.echo``."""

    version = '1.0'

    @extension.command(mutates=False, timeout=60)
    def echo(self, context: extension.Context, value: Any) -> Any:
        """Return ``value``."""
        return value

    @extension.command(mutates=True)
    def change(self, context: extension.Context, value: Any) -> Any:
        """Return the argument, as if that changed something."""
        return value
