"""Report how long the guest has been up."""

import pathlib

from guestagent import extension


class Uptime(extension.Extension):
    """Answers ``uptime.read``."""

    version = '1.0'

    @extension.command(mutates=False, timeout=5)
    def read(self, context: extension.Context) -> dict[str, float]:
        """Return the seconds since boot."""
        text = pathlib.Path('/proc/uptime').read_text()
        return {'seconds': float(text.split()[0])}
