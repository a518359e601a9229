# SPDX-License-Identifier: Apache-2.0
"""The worker of backups, but it stops itself where its programs are at work.

Whoever waits for that goes on when it is stopped, however fast the programs are.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from guestagent_datastore.backups import pipeline, worker


def stop_in(kind: type[Any]) -> None:
    """Stop this process when one of this kind has started its programs."""
    enter = kind.__enter__

    def stop_and_enter(streams: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return enter(streams)

    kind.__enter__ = stop_and_enter


if __name__ == '__main__':
    stop_in(pipeline._Source)
    stop_in(pipeline._Sink)
    sys.exit(worker.main())
