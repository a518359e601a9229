# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``guestctl``."""

import os
import sys

from guestagent import imports, memory


def main() -> int:
    """Run one command and return the exit code (doc/guestctl.rst)."""
    imports.refuse('eventlet')
    from guestagent.ctl import app

    # Master keys may be read, or made.
    memory.hide()
    code = app.main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read it has gone: let the interpreter's own flush at the end succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
