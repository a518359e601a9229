# SPDX-License-Identifier: Apache-2.0
"""``hardware``: take CPUs and blocks of memory on line and off line.

What a command needs is imported when the first one runs: an idle agent does without
it.
"""

from __future__ import annotations

import threading
from typing import Any

from guestagent import errors, extension

#: Where the kernel shows its devices.
SYSTEM = '/sys/devices/system'
#: As many are there never; a number beyond is not looked for.
NUMBER_MAX = 2**64


class Hardware(extension.Extension):
    """Answers ``hardware.cpus``, ``set_cpus``, and the same of blocks of memory."""

    version = '1.0'
    needs_root = 'to take CPUs and memory on line and off line'

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._lock = threading.Lock()

    @extension.command(mutates=False, timeout=10)
    def cpus(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return ``{id, online, can_offline}`` of each CPU.

        :raises guestagent.errors.GuestError: they cannot be read.
        """
        from guestagent_hardware import cpus

        return cpus.listed(f'{SYSTEM}/cpu')

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def set_cpus(
        self, context: extension.Context, cpus: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Take CPUs on line and off line, in the order of ``cpus``: ``{id, online}``.

        It ends at the first that fails.  The result is ``{changed}``: how many were
        handled before; and ``error``, if there was one.  One that is as it should be
        is handled, too.

        :raises guestagent.errors.InvalidArgument: the first is not there, or is always
            on line; or an item makes no sense, and then nothing was done.
        :raises guestagent.errors.GuestError: the kernel refuses the first.
        """
        from guestagent_hardware import cpus as kernel

        wanted = [_checked('cpus', 'id', item) for item in cpus]
        folder = f'{SYSTEM}/cpu'
        with self._lock:
            for done, (number, online) in enumerate(wanted):
                try:
                    context.check()
                    kernel.switch(folder, number, online)
                except (errors.InvalidArgument, errors.GuestError) as error:
                    if not done or context.cancelled:
                        raise
                    return {'changed': done, 'error': str(error)}
        return {'changed': len(wanted)}

    @extension.command(mutates=False, timeout=10)
    def memory_blocks(self, context: extension.Context) -> list[dict[str, Any]]:
        """Return ``{index, online, can_offline}`` of each block of memory.

        :raises guestagent.errors.GuestError: they cannot be read.
        """
        from guestagent_hardware import memory

        return memory.listed(f'{SYSTEM}/memory')

    @extension.command(mutates=True, timeout=60, repeatable=True)
    def set_memory_blocks(
        self, context: extension.Context, blocks: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Take blocks of memory on line and off line: each is ``{index, online}``.

        The result has for each, in order, ``{index, response}``: ``success``,
        ``not-found``, ``operation-not-supported`` or ``operation-failed``; and
        ``error_code``, the errno, where the kernel gave one.

        :raises guestagent.errors.InvalidArgument: an item makes no sense; nothing was
            done.
        """
        from guestagent_hardware import memory

        wanted = [_checked('blocks', 'index', item) for item in blocks]
        folder = f'{SYSTEM}/memory'
        answers = []
        with self._lock:
            for number, online in wanted:
                # The kernel may take long to move what is in use.
                context.check()
                answers.append(memory.switch(folder, number, online))
        return answers

    @extension.command(mutates=False, timeout=10)
    def memory_block_size(self, context: extension.Context) -> dict[str, int]:
        """Return ``{size}``: how many bytes a block of memory has.

        :raises guestagent.errors.GuestError: the kernel has no blocks.
        """
        from guestagent_hardware import memory

        return {'size': memory.block_size(f'{SYSTEM}/memory')}


def _checked(argument: str, key: str, item: dict[str, Any]) -> tuple[int, bool]:
    """Return the number and the state that an item asks for; it may say more."""
    number, online = item.get(key), item.get('online')
    if not isinstance(number, int) or isinstance(number, bool):
        raise errors.InvalidArgument(f'{argument}: an item needs {key!r}, a number')
    if not 0 <= number < NUMBER_MAX:
        raise errors.InvalidArgument(f'{argument}: {number} is no {key}')
    if not isinstance(online, bool):
        raise errors.InvalidArgument(
            f"{argument}: item {number} needs 'online', true or false"
        )
    return number, online
