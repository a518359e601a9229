# SPDX-License-Identifier: Apache-2.0
"""What follows from the size of the guest."""

from __future__ import annotations

import os
import pathlib

from guestagent_datastore import models


def values(asked: int, volume: pathlib.Path) -> dict[str, models.Value]:
    """Return parameters that follow from the memory in MiB (0: the machine's).

    Also how much WAL may be kept for replicas and backups that never come: it must not
    fill the volume.
    """
    memory = asked
    if not memory:
        text = pathlib.Path('/proc/meminfo').read_text()
        memory = int(text.split()[1]) // 1024
    stats = os.statvfs(volume)
    size = stats.f_blocks * stats.f_frsize // 2**20
    return {
        'shared_buffers': f'{max(16, memory // 4)}MB',
        'effective_cache_size': f'{max(16, memory * 3 // 4)}MB',
        'maintenance_work_mem': f'{min(1024, max(16, memory // 16))}MB',
        'max_slot_wal_keep_size': f'{max(256, size // 4)}MB',
    }
