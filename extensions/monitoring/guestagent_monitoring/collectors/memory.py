# SPDX-License-Identifier: Apache-2.0
"""Memory and swap, in bytes."""

from __future__ import annotations

import os


def memory(root: str = '/') -> dict[str, int]:
    """Return ``{total, available, free}``.

    ``available`` is the kernel's estimate of what programs could still get; ``free``
    is what nobody uses for anything.
    """
    fields = _meminfo(root)
    free = fields['MemFree']
    return {
        'total': fields['MemTotal'],
        'available': fields.get('MemAvailable', free),
        'free': free,
    }


def swap(root: str = '/') -> dict[str, int]:
    """Return ``{total, free}``; both are 0 in a guest without swap."""
    fields = _meminfo(root)
    return {'total': fields['SwapTotal'], 'free': fields['SwapFree']}


def details(root: str = '/') -> dict[str, int]:
    """Return both, with what of the memory is buffers and cache."""
    fields = _meminfo(root)
    return {
        'total': fields['MemTotal'],
        'free': fields['MemFree'],
        'buffers': fields['Buffers'],
        'cached': fields['Cached'],
        'swap_total': fields['SwapTotal'],
        'swap_free': fields['SwapFree'],
    }


def _meminfo(root: str) -> dict[str, int]:
    fields = {}
    with open(os.path.join(root, 'proc/meminfo'), encoding='ascii') as file:
        for line in file:
            name, _, value = line.partition(':')
            words = value.split()
            # A kB of the kernel's is 1024 bytes; a count has no unit.
            fields[name] = int(words[0]) * (1024 if words[1:] == ['kB'] else 1)
    return fields
