# SPDX-License-Identifier: Apache-2.0
"""Numbered devices of sysfs, such as ``cpu0`` and ``memory17``, and their files."""

from __future__ import annotations

import os
import re


def numbers(folder: str, name: str) -> list[int]:
    """Return the numbers of the devices ``<name><number>`` in a folder, in order.

    :raises OSError: the folder cannot be read.
    """
    found = (re.fullmatch(rf'{name}(\d+)', entry) for entry in os.listdir(folder))
    return sorted(int(match[1]) for match in found if match is not None)


def read(path: str) -> str:
    """Return the text of a file without its end of line.

    :raises OSError: it cannot be read.
    """
    with open(path, encoding='ascii', errors='replace') as file:
        return file.read().strip()


def write(path: str, text: str) -> None:
    """Write to a file that exists, in one call: that is what the kernel acts on.

    :raises OSError: it is not there, or the kernel refuses.
    """
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode('ascii'))
    finally:
        os.close(file)
