# SPDX-License-Identifier: Apache-2.0
"""Watching how far a command is, over whatever interrupts it."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import time

import pytest

from devstack import processes, stack
from tests.functional import faults

pytestmark = pytest.mark.functional

#: oslo.messaging takes up to half a minute to come back, on top of what a broker takes.
SECONDS = 120
#: What a terminal shows; the escape that the guest sent is only told of.
BAR = (
    r'guestctl: climber of vm-1 is running '
    r'\[########------------\]  40 % disk 2 of\\x1b\[31m 5'
)


class Terminal:
    """A guestctl on a terminal as wide as is needed."""

    def __init__(self, url, *arguments):
        master, slave = pty.openpty()
        self._master, self.shown = master, ''
        self.process = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'TERM', stack.script('guestctl'), *arguments],
            env={**os.environ, stack.URL_VARIABLE: url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        os.system(f'stty columns 200 < {os.ttyname(slave)}')
        os.close(slave)

    def wait_shown(self, pattern):
        """Wait until it shows what matches, from now on."""
        self.shown = ''
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown
            if select.select([self._master], [], [], 1)[0]:
                self.shown += os.read(self._master, 4096).decode()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Return the exit code and the standard output."""
        out, _ = self.process.communicate(timeout=SECONDS)
        os.close(self._master)
        return self.process.returncode, out


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_watch_goes_on_after_ctrl_c_and_a_restart_of_the_broker(
    agent, conductor, fragile_rabbit, bus_url, tmp_path
):
    before = conductor()
    agent('vm-1', extensions='probe', options=faults.QUICK)
    there = tmp_path / 'there'
    cast = ('cast', 'vm-1', 'probe.climb', f'to={there}', '--id', 'climber', '--wait')

    first = Terminal(bus_url, '--timeout', '600', *cast)
    first.wait_shown(BAR)
    first.interrupt()
    first.wait_shown(r'to go on waiting: (.*)\r\n')
    line = re.search(r'to go on waiting: (.*)\r\n', first.shown)[1]
    assert first.end() == (130, b'')

    second = Terminal(bus_url, *shlex.split(line)[1:], '-f', 'json')
    second.wait_shown(BAR)
    # It would drop its replies for a minute, see guestagent.ctl.watch.
    before.kill()
    fragile_rabbit.stop()
    second.wait_shown('the guest does not answer')
    fragile_rabbit.start()
    second.wait_shown(BAR)
    conductor()
    there.touch()

    code, out = second.end()
    assert code == 0
    assert (json.loads(out)['outcome'], json.loads(out)['result']) == ('done', 'there')


def test_progress_is_listed(agent, guestctl, tmp_path):
    agent('vm-1', extensions='probe')
    there = tmp_path / 'there'
    guestctl('cast', 'vm-1', 'probe.climb', f'to={there}', '--id', 'climber')

    def listed():
        shown = guestctl('command', 'list', 'vm-1', '--running', '-f', 'json')
        return json.loads(shown.stdout)

    [record] = processes.wait_for(
        lambda: (found := listed()) and found[0]['percent'] and found, 'its progress'
    )
    assert (record['percent'], record['text']) == (40, 'disk 2 of\x1b[31m 5')
    there.touch()
