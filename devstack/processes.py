# SPDX-License-Identifier: Apache-2.0
"""Child processes with a log and an end, private ports, and waiting with a deadline.

The kernel ends each child when its parent dies (``setpriv --pdeathsig``), so that not
even a test run that was killed leaves a server behind.
"""

import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Result = TypeVar('Result')

#: Below the range from which the kernel takes the ports of outgoing connections.
PORTS = range(20000, 32000)

#: How long is waited by default: nothing takes so long, but on a machine that is
#: busy with much else.
SECONDS = 60.0

_claims: list[socket.socket] = []


class Failed(Exception):
    """A process ended, or did not do in time what was waited for."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that no other caller of this gets.

    An abstract unix socket named after the port is the claim: it lives as long as
    this process, whatever ends it, so test workers that run side by side never pick
    the same port.

    :raises Failed: there is none.
    """
    for port in random.sample(PORTS, len(PORTS)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f'\0guestagent-port-{port}')
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(('127.0.0.1', port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise Failed(f'no free port from {PORTS.start} to {PORTS.stop - 1}')


def wait_for(
    condition: Callable[[], Result | None],
    what: str,
    seconds: float = SECONDS,
    spacing: float = 0.05,
) -> Result:
    """Call ``condition`` until it returns something true, and return that.

    :param what: completes the sentence "not within 60 s: ...".
    :param spacing: seconds between two calls.
    :raises Failed: it did not in ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failed(f'not within {seconds:g} s: {what}')
        time.sleep(spacing)


class Process:
    """A child process whose standard output and error go to a log file.

    It starts when it is made, in a session of its own: Ctrl-C on the terminal goes
    to the parent only, which stops its children in the order that it wants.

    :ivar name: what messages call it.
    :ivar argv: what it runs.
    :ivar log: the file; a process started again on it appends.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        log: pathlib.Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: pathlib.Path | None = None,
    ) -> None:
        self.name = name
        self.argv = argv
        self.log = log
        with log.open('ab') as output:
            self._start = output.tell()
            self._child = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; it stays readable after the end."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    def output(self) -> str:
        """Return what it has written since it started."""
        with self.log.open('rb') as file:
            file.seek(self._start)
            return file.read().decode(errors='replace')

    def wait_for(
        self,
        condition: Callable[[], Result | None],
        what: str,
        seconds: float = SECONDS,
    ) -> Result:
        """Wait as :func:`wait_for`, but no longer than the process runs.

        :raises Failed: it ended, or did not in ``seconds``; with the log's end.
        """

        def check() -> Result | None:
            if not self.running:
                raise Failed(
                    f'{self.name} ended with {self._child.returncode} '
                    f'before this: {what}'
                )
            return condition()

        try:
            return wait_for(check, what, seconds)
        except Failed as error:
            raise Failed(f'{error}\n{self.tail()}') from None

    def wait_line(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """Wait until a line of the output matches ``pattern``; return the match."""
        found = re.compile(pattern, re.MULTILINE)
        return self.wait_for(
            lambda: found.search(self.output()),
            f'a line that matches {pattern!r}',
            seconds,
        )

    def wait_port(self, port: int, seconds: float = SECONDS) -> None:
        """Wait until something accepts connections on this port of 127.0.0.1."""
        self.wait_for(lambda: accepts(port), f'port {port} accepts', seconds)

    def wait_end(self, seconds: float = SECONDS) -> int:
        """Wait for the end; return the exit code, or minus the signal.

        :raises Failed: it still runs after ``seconds``.
        """
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(
                f'{self.name} still runs after {seconds:g} s\n{self.tail()}'
            ) from None

    def tail(self, lines: int = 30) -> str:
        """Return the end of the log, with a heading."""
        kept = self.output().splitlines()[-lines:]
        return '\n'.join([f'--- {self.name}: {self.log}', *kept])

    def stop(self, seconds: float = SECONDS) -> int:
        """Ask it to end and wait; what has not ended by then is killed.

        :returns: the exit code, or minus the signal.
        :raises Failed: it had to be killed.
        """
        if self.running:
            self._child.send_signal(signal.SIGTERM)
        try:
            return self.wait_end(seconds)
        except Failed:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it and the children in its session, as a power cut would."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()


def accepts(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=1):
            return True
    except OSError:
        return False
