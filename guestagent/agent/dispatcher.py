# SPDX-License-Identifier: Apache-2.0
"""Carry requests from every door through the steps to an extension, and back.

The way: :meth:`Dispatcher.submit` on the loop asks each step to *admit* the request;
a worker asks each step to *accept* it, runs the command, and lets each step *finish*
it, in reverse order; then the answer leaves.  A command that passes its time limit
is cancelled and settled in its stead: whoever takes a request out of the watch
settles it, so each has one outcome.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import counts, outcomes, steps, watch
from guestagent.agent import pool as pools
from guestagent.agent import request as requests
from guestagent.bus import base

LOG = logging.getLogger(__name__)


class Outcomes(Protocol):
    """Where the outcome of a command goes that nobody waits for."""

    def report_outcome(
        self, data: dict[str, Any], kept: Callable[[], None] | None = None
    ) -> None:
        """Take it, as :mod:`guestagent.agent.outcomes` describes it; from any thread.

        :param kept: called on the loop when it cannot be lost any more.
        """


class Dispatcher:
    """Routes requests; knows neither where they come from nor what they do."""

    def __init__(
        self,
        loop: loops.Loop,
        pool: pools.Pool,
        reports: Outcomes,
        order: Sequence[steps.Step],
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._reports = reports
        self._log_limit = logs.RateLimit()
        self.counts = counts.Counts()
        self._admit = _overriding(order, 'admit')
        self._accept = _overriding(order, 'accept')
        self._refused = _overriding(order, 'refused')
        self._finish = list(reversed(_overriding(order, 'finish')))
        self._delivered = _overriding(order, 'delivered')
        self.watch = watch.Watch(loop, self._expire)

    def submit(self, request: requests.Request) -> None:
        """Take a request from a door; on the loop."""
        try:
            for admit in self._admit:
                admit(request)
        except steps.Unanswered as error:
            self._drop(request, error)
            return
        except Exception as error:  # noqa: BLE001
            # A refusal, or a fault in a step: both are answered, never raised.
            self._refuse(request, error)
            return
        command = request.command
        if command is None or not command.info.mutates:
            request.acknowledge()
        if command is not None and command.inline:
            outcome = self._call(request)
            self.counts.end(outcome.status)
            request.door.answer(request, outcome)
            return
        self.watch.add(request)
        if not self._pool.submit(self._run, request):
            self.watch.remove(request)
            self._refuse(request, errors.Busy('all workers of the agent are busy'))

    def in_flight(self) -> list[requests.Request]:
        """Return what is in flight, waiting or running, the oldest first."""
        return self.watch.in_flight()

    def cancel(self, request: requests.Request, reason: errors.GuestError) -> bool:
        """End a command, running or waiting; on the loop.

        :returns: whether it had not ended before.
        """
        if not self.watch.remove(request):
            return False
        # On a thread of its own: settling may write, and cancelling runs callbacks
        # of the extension.
        self._pool.urge(self._give_up, (request, reason))
        return True

    def cancel_all(self, reason: errors.GuestError) -> None:
        """Cancel what runs, and drop what waits; on the loop, when the agent stops.

        What runs is settled as its command returns.  Of what waits, the
        unacknowledged goes back into its queue, and the rest is refused.
        """
        for request in self.watch.in_flight():
            if request.started is not None:
                request.cancel(reason)
            elif self.watch.remove(request) and request.acknowledged:
                self._refuse(request, errors.Stopping('the agent is stopping'))

    def abandon_all(self, reason: errors.GuestError) -> None:
        """Settle what was cancelled and does not return; the last thing to do."""
        for request in self.watch.in_flight():
            if self.watch.remove(request):
                self._settle(
                    request, requests.Outcome(requests.INTERRUPTED, error=reason)
                )

    def replied(
        self, request: requests.Request, outcome: requests.Outcome, sent: base.Sent
    ) -> None:
        """Hear what became of the reply to a mutating command; on the loop.

        An outcome whose reader has gone is reported.
        """
        if sent is base.Sent.CONFIRMED:
            self._deliver(request)
        else:
            self._report(request, outcome)

    def resume(self, request: requests.Request) -> None:
        """Run a command that was accepted before the agent was killed; on the loop."""
        self.watch.add(request)
        self._pool.submit(self._run_accepted, request, reserve=True)

    def _drop(self, request: requests.Request, error: steps.Unanswered) -> None:
        """Let go of a request as if it had never come."""
        held = self._log_limit.allow(error.reason)
        if held is not None:
            LOG.warning(
                'a request got no answer: %s (%d more since the last line like this)',
                error,
                held,
            )
        self.counts.drop(error.reason)
        request.acknowledge()

    def _refuse(self, request: requests.Request, error: BaseException) -> None:
        if not isinstance(
            error,
            (errors.GuestAgentError, TypeError, AttributeError, ValueError, IndexError),
        ):
            LOG.error('%s could not be judged', request.name, exc_info=error)
        held = self._log_limit.allow(type(error).__name__)
        if held is not None:
            LOG.info(
                '%s from %r refused: %s (%d more since the last line like this)',
                request.name,
                request.caller,
                error,
                held,
            )
        self.counts.refuse(error)
        for refused in self._refused:
            refused(request, error)
        request.acknowledge()
        # Where it was refused is of no use to its caller.
        self._answer(
            request, requests.Outcome(requests.FAILED, error=error.with_traceback(None))
        )

    def _run(self, request: requests.Request) -> None:
        """Accept, run and settle one request; on a worker."""
        if request not in self.watch:
            return  # cancelled while it waited
        if request.expires is not None and request.expires < time.monotonic():
            # Its caller has been told of a timeout already; running it now would
            # surprise.
            request.acknowledge_soon(self._loop)
            if self.watch.remove(request):
                self.counts.end(counts.EXPIRED)
                LOG.info(
                    '%s from %r expired before a worker was free',
                    request.name,
                    request.caller,
                )
            return
        try:
            known = self._accepted(request)
        except Exception as error:  # noqa: BLE001 (answered, as in submit)
            if self.watch.remove(request):
                self._loop.call_soon(self._refuse, request, error)
            return
        request.acknowledge_soon(self._loop)
        if known is not None:
            known.then(lambda outcome: self._answer_known(request, outcome))
            return
        self._run_accepted(request)

    def _run_accepted(self, request: requests.Request) -> None:
        """Run and settle what the steps have taken note of; on a worker."""
        if request not in self.watch:
            # Cancelled meanwhile, maybe before there was a note to complete.
            reason = errors.Cancelled('the command was cancelled before it ran')
            self._take_note(request, requests.Outcome(requests.FAILED, error=reason))
            return
        outcome = self._call(request)
        if self.watch.remove(request):
            self._settle(request, outcome)

    def _accepted(self, request: requests.Request) -> steps.Known | None:
        for accept in self._accept:
            known: steps.Known | None = accept(request)
            if known is not None:
                return known
        return None

    def _answer_known(
        self, request: requests.Request, outcome: requests.Outcome
    ) -> None:
        """Answer a repeat with the outcome of the first."""
        if self.watch.remove(request):
            self.counts.end(counts.REPEATED)
            self._answer(request, outcome)

    def _call(self, request: requests.Request) -> requests.Outcome:
        """Call the extension; whatever it raises becomes the outcome."""
        command = request.command
        if command is None:
            raise RuntimeError('no step has found the command')
        context = request.begin()
        try:
            result = command.function(context, **request.args)
        except errors.Interrupted as error:
            return requests.Outcome(requests.INTERRUPTED, error=error)
        except errors.GuestAgentError as error:
            return requests.Outcome(requests.FAILED, error=error)
        except Exception as error:
            LOG.exception('%s failed', request.name)
            return requests.Outcome(requests.FAILED, error=error)
        return requests.Outcome(requests.DONE, result)

    def _expire(self, request: requests.Request) -> None:
        """End a command whose time is over; on the loop."""
        limit = request.command.info.timeout if request.command else None
        reason = errors.CommandTimeout(
            f'{request.name} did not end within {limit:g} seconds and was cancelled'
        )
        if self.cancel(request, reason):
            LOG.warning('%s', reason)

    def _give_up(self, what: tuple[requests.Request, errors.GuestError]) -> None:
        request, reason = what
        request.acknowledge_soon(self._loop)
        self._settle(request, requests.Outcome(requests.FAILED, error=reason))
        request.cancel(reason)

    def _settle(self, request: requests.Request, outcome: requests.Outcome) -> None:
        self._take_note(request, outcome)
        self.counts.end(outcome.status)
        if request.started is not None:
            seconds = time.monotonic() - request.started
            self.counts.run(request.namespace, outcome.status != requests.DONE, seconds)
        self._answer(request, outcome)

    def _answer(self, request: requests.Request, outcome: requests.Outcome) -> None:
        quiet = request.command is not None and request.command.quiet
        if not request.door.answer(request, outcome) and not quiet:
            self._report(request, outcome)

    def _take_note(self, request: requests.Request, outcome: requests.Outcome) -> None:
        for finish in self._finish:
            finish(request, outcome)

    def _report(self, request: requests.Request, outcome: requests.Outcome) -> None:
        self._reports.report_outcome(
            outcomes.describe(request, outcome), lambda: self._deliver(request)
        )

    def _deliver(self, request: requests.Request) -> None:
        for delivered in self._delivered:
            delivered(request)


def _overriding(order: Sequence[steps.Step], hook: str) -> list[Callable[..., Any]]:
    """Return the bound hooks of those steps that have one of their own."""
    return [
        getattr(step, hook)
        for step in order
        if getattr(type(step), hook) is not getattr(steps.Step, hook)
    ]
