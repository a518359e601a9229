# SPDX-License-Identifier: Apache-2.0
"""What the audit log tells of the input of programs: that one gets some, and how much.

What a shell or an interpreter does is decided by what it reads, and ``exec.write`` is
not recorded by itself: there may be one for each key that somebody presses.  The bytes
are nowhere in the log, nor a checksum: they may be a password.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import extension

if TYPE_CHECKING:
    from guestagent_exec import programs

#: Takes a context, what to say of its ``exec.spawn``, and whether that is needed.
Record = Callable[[extension.Context, Mapping[str, Any], bool], None]


class Notes:
    """Has each program noted when it gets its first input, and when it has ended."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._lock = threading.Lock()

    def follow(self, program: programs.Program) -> None:
        """Note the end of a program that was given input."""
        program.run.at_end = functools.partial(self._end, program)

    def begin(self, program: programs.Program) -> None:
        """Note, once, that a program is given input; before it is.

        :raises guestagent.errors.GuestAgentError: that cannot be recorded.
        """
        with self._lock:
            if program.fed:
                return
            self._record(
                program.context, {**_describe(program), 'input': 'begins'}, True
            )
            with program.run.changed:
                program.fed = True
                if program.run.over:
                    self._end(program)

    def _end(self, program: programs.Program) -> None:
        """Note how much there was; whoever calls holds ``run.changed``."""
        if program.fed:
            about = {**_describe(program), 'input_bytes': program.run.feed.taken}
            self._record(program.context, about, False)


def _describe(program: programs.Program) -> dict[str, Any]:
    return {'handle': program.handle, 'pid': program.run.pid}
