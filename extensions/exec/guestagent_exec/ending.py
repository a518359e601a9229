# SPDX-License-Identifier: Apache-2.0
"""What is said of how a program has ended; no I/O."""

from __future__ import annotations

import signal
from typing import Any


def describe(code: int) -> dict[str, Any]:
    """Return the members of a result that say how a program has ended."""
    return {
        'exit_code': code if code >= 0 else None,
        'signal': -code if code < 0 else None,
        'signal_name': signal_name(-code) if code < 0 else None,
    }


def signal_name(number: int) -> str:
    """Return a signal's name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'SIGRTMIN+{number - signal.SIGRTMIN}'
