# SPDX-License-Identifier: Apache-2.0
"""What the kernel lets the tests do: root of a container may less than root."""

import pathlib

#: To let a file system grow while it is mounted, among others.
SYS_RESOURCE = 24


def has(capability: int) -> bool:
    """Whether this process has one."""
    status = pathlib.Path('/proc/self/status').read_text()
    return bool(int(status.split('CapEff:')[1].split()[0], 16) & 1 << capability)
