# SPDX-License-Identifier: Apache-2.0
"""Calls to one guest, several at a time, that a bus which goes away does not end."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from guestagent import errors

if TYPE_CHECKING:
    from guestagent import client as clients

Result = TypeVar('Result')

#: The share of the time after which a call is repeated: what an agent that is killed
#: has read is lost.
_ATTEMPT = 0.25

#: How many calls are on their way at a time.
IN_FLIGHT = 4


class Guest:
    """The commands of ``file`` in one guest.

    :param timeout: seconds for which a call is repeated while nobody answers.
    """

    def __init__(
        self, client: clients.Client, instance: str, timeout: float = 60
    ) -> None:
        self.instance = instance
        self._client = client
        self._timeout = timeout
        self._answered = False

    def call(self, method: str, /, *, more: float = 0, **arguments: Any) -> Any:
        """Return what ``file.<method>`` does.

        :param more: seconds that it may need beside those for an answer.
        :raises guestagent.errors.GuestAgentError: what the guest answers, or that it
            does not.
        """
        from guestagent import rpc

        command_id = uuid.uuid4().hex
        deadline = time.monotonic() + self._timeout + more
        for pause in rpc.pauses(0.2, 5):
            left = deadline - time.monotonic()
            try:
                answer = self._client.call(
                    self.instance,
                    f'file.{method}',
                    arguments,
                    timeout=max(left, 1),
                    attempt_timeout=self._timeout * _ATTEMPT + more,
                    command_id=command_id,
                )
                self._answered = True
                return answer
            except (rpc.BusError, rpc.NoSuchGuest) as error:
                # A broker that was started anew knows a guest when that has come back.
                known = self._answered or isinstance(error, rpc.BusError)
                if not known or time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        raise AssertionError('pauses have no end')


class Flow:
    """Threads that do jobs at the same time; they end with the program at the latest.

    A context manager: at its end no more jobs begin, and nobody waits for those that
    run, so that Ctrl-C works while a guest is silent.
    """

    def __init__(self, count: int = IN_FLIGHT) -> None:
        self._count = count
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(
                target=self._work, name=f'flow-{number}', daemon=True
            ).start()

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in range(self._count):
            self._jobs.put(None)

    def run(self, jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """Yield what the jobs return, in their order; few are ahead of it.

        :raises: what a job raises, when its turn comes.
        """
        waiting: collections.deque[_Job[Result]] = collections.deque()
        for work in jobs:
            job = _Job(work)
            self._jobs.put(job)
            waiting.append(job)
            if len(waiting) >= self._count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()


class _Job(Generic[Result]):
    """Something to be done on another thread."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._done = threading.Event()
        self._result: list[Result] = []
        self._error: BaseException | None = None

    def do(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:  # noqa: BLE001
            # The boundary of a thread: whoever waits for the result raises it.
            self._error = error
        self._done.set()

    def result(self) -> Result:
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result.pop()


class LocalError(errors.GuestAgentError):
    """Something is wrong with a file on this side."""

    code = 'local-file'


def local(path: str, error: OSError) -> LocalError:
    """Return the error for a system call that failed on this side."""
    return LocalError(f'here: {path}: {error.strerror or error}')
