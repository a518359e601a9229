# SPDX-License-Identifier: Apache-2.0
"""CPUs and memory, by the extension ``hardware``."""

from __future__ import annotations

import errno
from typing import Any

from guestagent_qga import guest as guests

Arguments = dict[str, Any]


def get_vcpus(guest: guests.Guest, arguments: Arguments) -> list[dict[str, Any]]:
    """Return all CPUs."""
    return [
        _item('logical-id', 'id', found) for found in guest.call('hardware', 'cpus')
    ]


def set_vcpus(guest: guests.Guest, arguments: Arguments) -> int:
    """Take CPUs on and off line; return how many were handled before one failed."""
    wanted = [
        {'id': item['logical-id'], 'online': item['online']}
        for item in arguments['vcpus']
    ]
    if not wanted:
        return 0
    changed: int = guest.call('hardware', 'set_cpus', cpus=wanted)['changed']
    return changed


def get_memory_blocks(
    guest: guests.Guest, arguments: Arguments
) -> list[dict[str, Any]]:
    """Return all blocks of memory."""
    blocks = guest.call('hardware', 'memory_blocks')
    return [_item('phys-index', 'index', found) for found in blocks]


def set_memory_blocks(
    guest: guests.Guest, arguments: Arguments
) -> list[dict[str, Any]]:
    """Take blocks of memory on and off line; return what became of each."""
    wanted = [
        {'index': item['phys-index'], 'online': item['online']}
        for item in arguments['mem-blks']
    ]
    if not wanted:
        return []
    answers = []
    for item in guest.call('hardware', 'set_memory_blocks', blocks=wanted):
        answer = {'phys-index': item['index'], 'response': item['response']}
        code = item.get('error_code')
        if item['response'] == 'not-found':
            code = errno.ENOENT
        if code is not None:
            answer['error-code'] = code
        answers.append(answer)
    return answers


def get_memory_block_info(guest: guests.Guest, arguments: Arguments) -> dict[str, int]:
    """Return how large a block is, in bytes."""
    return {'size': guest.call('hardware', 'memory_block_size')['size']}


def _item(key: str, number: str, found: dict[str, Any]) -> dict[str, Any]:
    return {
        key: found[number],
        'online': found['online'],
        'can-offline': found['can_offline'],
    }
