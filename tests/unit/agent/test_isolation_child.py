# SPDX-License-Identifier: Apache-2.0
"""What an extension's process says of itself."""

import json
import subprocess
import sys

# In a process of its own, as it is made for one.
RACE = """
import os, threading

from guestagent import extension
from guestagent.agent.isolation import child

looked, told = threading.Event(), threading.Event()


class Holder(extension.Extension):
    holds = False

    def busy(self):
        holds = self.holds
        if threading.current_thread().name == 'slow':
            looked.set()
            told.wait(0.3)  # as long as the other may take to overtake
        return holds


reads, writes = os.pipe()
made = child.Child('holder', Holder, reads, writes)
made._started = Holder('holder', None, extension.Host())
slow = threading.Thread(target=made._tell_state, name='slow')
slow.start()
looked.wait()
made._started.holds = True
made._tell_state()
told.set()
slow.join()
os.close(writes)
print(os.read(reads, 65536).decode())
"""


def test_what_is_said_last_is_what_was_seen_last():
    done = subprocess.run(
        [sys.executable, '-c', RACE],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert said[-1] == {'type': 'busy', 'busy': True}
