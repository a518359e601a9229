# SPDX-License-Identifier: Apache-2.0
"""guestctl has master keys: its memory is for nobody else."""

import subprocess
import sys

_SCRIPT = """
import ctypes, sys
from guestagent.cmd import ctl
sys.argv = ['guestctl', 'key', 'new', 'nova']
ctl.main()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), file=sys.stderr)  # PR_GET_DUMPABLE
"""


def test_no_core_dump_is_made_of_guestctl() -> None:
    ran = subprocess.run(
        [sys.executable, '-c', _SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.startswith('commands nova gam1-')
    assert ran.stderr == '0\n'
