# SPDX-License-Identifier: Apache-2.0
"""``file``: the files of the guest, within the folders that are allowed."""

from __future__ import annotations

from guestagent_file import opened, whole


class File(opened.Opened, whole.Whole):
    """Opens, reads, writes, moves and removes files, and carries them in parts."""

    version = '1.0'
