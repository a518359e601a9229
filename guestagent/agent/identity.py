# SPDX-License-Identifier: Apache-2.0
"""Who reports: the instance, and the generation in which its reports are counted.

A process cannot know that its counters continue what the conductor knows: it may be
new, or its guest was put back to a snapshot while it ran, and now gives numbers once
more that another life of it has given.  The latter always costs it its connection.  So
each process begins a generation, and so does each connection.
"""

from __future__ import annotations

import time

from guestagent.agent import spool


class Identity:
    """Who reports.

    :ivar generation: an opaque text that no other process and no other life of this
        one has used.
    :ivar started: when the process started, in UNIX seconds by the guest's clock.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.started = time.time()
        try:
            with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
                self.boot_id = file.read().strip()
        except OSError:
            self.boot_id = ''
        self.renew()

    def renew(self) -> None:
        """Begin a generation."""
        self.generation = spool.new_id(self.instance)[:16]
