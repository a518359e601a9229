# SPDX-License-Identifier: Apache-2.0
"""The programs of a pipeline: started, heard, waited for, and ended with the worker."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
from typing import IO

from guestagent import errors
from guestagent_datastore import models, programs

#: How much a pipe holds, in bytes: what anyone may ask for.
PIPE_SIZE = 1024 * 1024
#: How much is kept of what a program says, and how much of that is repeated.
WORDS_MAX = 64 * 1024
TAIL = 1000

_DISK_FULL = re.compile(r'No space left on device|Errcode: 28\b|errno:? 28\b', re.I)


class Tool:
    """A program of a pipeline; it dies with the thread that started it.

    :ivar name: for messages.
    """

    def __init__(
        self,
        command: models.Command,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
    ) -> None:
        self.name = os.path.basename(command.argv[0])
        self._words = bytearray()
        if shutil.which(command.argv[0], path=programs.PATH) is None:
            raise errors.GuestError(f'{command.argv[0]} is not installed in this guest')
        try:
            self.process = subprocess.Popen(
                # The kernel ends it, also where the worker can do nothing any more.
                ['setpriv', '--pdeathsig', 'KILL', '--', *command.argv],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=command.folder,
                env=programs.environment(command),
                process_group=0,
                pass_fds=programs.inherited(),
                **programs.account(command),
            )
        except OSError as error:
            raise errors.GuestError(f'{self.name}: {error.strerror or error}') from None
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                widen(pipe.fileno())
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        stream = self.process.stderr
        assert stream is not None
        while chunk := stream.read(4096):
            self._words += chunk
            del self._words[:-WORDS_MAX]

    def kill(self) -> None:
        """End it with all that it has started."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self) -> None:
        """Close its pipes; nobody else may be using them."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait()
        # A child of its own may hold the pipe open for ever.
        self._listener.join(5)
        return code

    def failure(self) -> errors.GuestError | None:
        """Wait for its end; return what went wrong, if something did.

        Nothing did with one that ended because its reader had ended.
        """
        code = self.wait()
        if code in (0, -signal.SIGPIPE):
            return None
        words = self._words.decode(errors='replace')
        said = ' '.join(words[-TAIL:].split())
        kind = errors.DiskFull if _DISK_FULL.search(words) else errors.GuestError
        how = f'exit code {code}' if code > 0 else f'signal {-code}'
        return kind(f'{self.name} failed ({how}): {said}')


def widen(pipe: int) -> None:
    """Let a pipe hold more, so that both its ends sleep less often."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


def write_all(stream: IO[bytes], data: bytes) -> None:
    """Write all of it to a pipe."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(stream.fileno(), rest) :]


class Splice(threading.Thread):
    """Moves what a program writes to the one that compresses it; no byte is copied.

    It closes the second one's input only after the first one ended well: what is cut
    must not look whole.

    :ivar moved: in bytes.
    """

    def __init__(self, source: Tool, sink: Tool) -> None:
        super().__init__(daemon=True)
        self.moved = 0
        self._source, self._sink = source, sink

    def run(self) -> None:
        """Move all of it."""
        source, sink = self._source.process.stdout, self._sink.process.stdin
        assert source is not None
        assert sink is not None
        try:
            while count := os.splice(source.fileno(), sink.fileno(), PIPE_SIZE):
                self.moved += count
        except BrokenPipeError:
            pass  # the sink has ended; its exit code says why
        source.close()
        if self._source.wait() == 0:
            sink.close()
        else:
            self._sink.kill()
