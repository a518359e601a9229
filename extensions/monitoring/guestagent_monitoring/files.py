# SPDX-License-Identifier: Apache-2.0
"""Reads the small files of /proc, /sys, /etc and /run below a root."""

from __future__ import annotations

import os


def read(root: str, path: str) -> str:
    """Return a file's text; what is not UTF-8 in it is replaced.

    :raises OSError: it cannot be read.
    """
    with open(os.path.join(root, path), encoding='utf-8', errors='replace') as file:
        return file.read()


def read_first(root: str, *paths: str) -> str | None:
    """Return the stripped text of the first of these files that says something."""
    for path in paths:
        try:
            text = read(root, path).strip(' \t\r\n\0')
        except OSError:
            continue
        if text:
            return text
    return None


def read_names(root: str, path: str) -> list[str]:
    """Return the sorted names in a folder; none where there is no such folder."""
    try:
        return sorted(os.listdir(os.path.join(root, path)))
    except OSError:
        return []


def read_assignments(text: str) -> dict[str, str]:
    """Parse lines of NAME=value, as of uevent or systemd's own files."""
    fields = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition('=')
        if equals and not name.startswith('#'):
            fields[name] = value
    return fields
