# SPDX-License-Identifier: Apache-2.0
"""Which version of the protocol both sides speak: whole numbers, 0 to 3.

The agent begins with 0 and says so in its first heartbeat, then 3: a host that
remembers an agent from before is made to agree anew.  The host answers with
``api-version``.  A ``refresh`` that names no version comes from a host that knows none.
"""

from __future__ import annotations

from typing import Any

HIGHEST = 3
#: The first version of each message that not all have.
SINCE = {
    'number-of-cpus': 1,
    'timezone': 2,
    'os-info': 2,
    'containers': 3,
    'completion': 3,
}


class Negotiation:
    """The version that was agreed on; rules without I/O.

    :ivar agreed: the version.
    """

    def __init__(self) -> None:
        self.agreed = 0
        self._begun = False

    def offer(self) -> int:
        """Return what the next heartbeat is to offer."""
        offered = HIGHEST if self._begun else 0
        self._begun = True
        return offered

    def hear(self, version: Any) -> bool:
        """Take the version that the host names; return whether it is another one."""
        if type(version) is not int:
            version = 0
        before, self.agreed = self.agreed, min(max(version, 0), HIGHEST)
        return self.agreed != before

    def allows(self, name: str) -> bool:
        """Whether the host understands a message of this name."""
        return SINCE.get(name, 0) <= self.agreed
