# SPDX-License-Identifier: Apache-2.0
"""Carry requests from every door through the steps to an extension, and back.

The way: :meth:`Dispatcher.submit` on the loop asks each step to *admit* the request;
a worker asks each step to *accept* it, runs the command, and lets each step *finish*
it, in reverse order; then the answer leaves.  A command that passes its time limit
is cancelled and settled in its stead: whoever takes a request out of the watch
settles it, so each has one outcome.

What changes the guest is written down before it runs and before it is answered.  So
one worker accepts all such requests that have come meanwhile, and one settles all that
have ended meanwhile, while the others go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import batches, counts, outcomes, steps, watch
from guestagent.agent import disk as disks
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
        self._accept = _overriding(order, 'accept', 'accept_all')
        self._refused = _overriding(order, 'refused')
        self._finish = _overriding(order[::-1], 'finish', 'finish_all')
        self._delivered = _overriding(order, 'delivered')
        self.watch = watch.Watch(loop, self._expire)
        self._arrived: batches.Batches[requests.Request] = batches.Batches()
        self._ended: batches.Batches[steps.Ended] = batches.Batches()
        self._asked = False

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
        if command is not None and command.info.inline:
            outcome = self._call(request)
            self.counts.end(outcome.status)
            self._answer(request, outcome)
            return
        self.watch.add(request)
        if not self._hand_on(request):
            self.watch.remove(request)
            self._refuse(request, errors.Busy('all workers of the agent are busy'))

    def in_flight(self) -> list[requests.Request]:
        """Return what is in flight, waiting or running, the oldest first."""
        return self.watch.in_flight()

    def is_settled(self) -> bool:
        """Whether nothing is in flight, and each outcome has gone its way; on the loop.

        The loop is woken when that comes about after it was asked for.
        """
        self._asked = True
        return not len(self.watch) and not self._ended.taken

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
                outcome = requests.Outcome(requests.INTERRUPTED, error=reason)
                self._settle(request, outcome)

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

    def _hand_on(self, request: requests.Request) -> bool:
        """Have a worker take care of a request; return whether there is room."""
        if request.command is not None and request.command.info.urgent:
            self._pool.urge(self._run_urgent, request)
            return True
        if not request.mutates:
            return self._pool.submit(self._run, request)
        if not self._pool.enter():
            return False
        if self._arrived.add(request):
            self._pool.run(self._take_in, None)
        return True

    def _run(self, request: requests.Request) -> None:
        """Accept, run and settle one request; on a worker."""
        for accepted in self._accept_all([request]):
            self._run_accepted(accepted)

    def _run_urgent(self, request: requests.Request) -> None:
        """Accept, run and settle one that must get through; on a thread of its own."""
        disks.URGENCY.urgent = True
        self._run(request)

    def _take_in(self, _: None) -> None:
        """Accept what has arrived, as far as workers are free for it; on a worker."""
        arrived = self._arrived.take(1 + self._pool.free)
        accepted = self._accept_all(arrived)
        self._pool.leave(len(arrived) - len(accepted))
        work: list[pools.Work]
        work = [(self._run_accepted, request, True) for request in accepted]
        if not self._arrived.leave():
            work.append((self._take_in, None, False))
        for function, argument, leaves in work:
            # This worker does the first itself.
            first = argument is work[0][1]
            self._pool.run(function, argument, leaves, follows=first)

    def _accept_all(
        self, several: Sequence[requests.Request]
    ) -> list[requests.Request]:
        """Return those that are to run; the others are answered."""
        waiting = [request for request in several if self._still_wanted(request)]
        answers: dict[requests.Request, steps.Known | Exception] = {}
        try:
            for accept_all in self._accept:
                if waiting:
                    answers |= accept_all(waiting)
                    waiting = [one for one in waiting if one not in answers]
        except Exception as error:  # noqa: BLE001 (answered, as in submit)
            answers |= dict.fromkeys(waiting, error)
            waiting = []
        for request, known in answers.items():
            self._guard(self._not_run, request, known)
        if not all(request.acknowledged for request in waiting):
            self._loop.call_soon(_acknowledge, waiting)
        return waiting

    def _still_wanted(self, request: requests.Request) -> bool:
        """Whether a request that has waited is to run."""
        if request not in self.watch:
            return False  # cancelled
        if request.expires is None or request.expires >= time.monotonic():
            return True
        # Its caller has been told of a timeout already; running it now would surprise.
        request.acknowledge_soon(self._loop)
        if self.watch.remove(request):
            self.counts.end(counts.EXPIRED)
            LOG.info(
                '%s from %r expired before a worker was free',
                request.name,
                request.caller,
            )
        return False

    def _not_run(
        self, request: requests.Request, known: steps.Known | Exception
    ) -> None:
        """Answer what a step refuses, or has had before."""
        if isinstance(known, Exception):
            if self.watch.remove(request):
                self._loop.call_soon(self._refuse, request, known)
            return
        request.acknowledge_soon(self._loop)
        known.then(lambda outcome: self._answer_known(request, outcome))

    def _run_accepted(self, request: requests.Request) -> None:
        """Run and settle what the steps have taken note of; on a worker."""
        if request not in self.watch:
            # Cancelled meanwhile, maybe before there was a note to complete.
            reason = errors.Cancelled('the command was cancelled before it ran')
            self._take_note(
                [(request, requests.Outcome(requests.FAILED, error=reason))]
            )
            return
        outcome = self._call(request)
        if not self.watch.remove(request):
            return
        if not request.mutates:
            self._settle(request, outcome)
        elif self._ended.add((request, outcome)):
            while ended := self._ended.take():
                self._settle_all(ended)
            if self._asked:
                self._loop.call_soon(_wake_up)

    def _settle_all(self, ended: Sequence[steps.Ended]) -> None:
        """Settle what several workers have run."""
        try:
            self._take_note(ended)
        except Exception:
            LOG.exception('no note could be taken of %d outcomes', len(ended))
            if len(ended) > 1:
                # Each alone: one that makes trouble must not cost the others.
                for one in ended:
                    self._settle_all([one])
            return
        for request, outcome in ended:
            self._guard(self._tell, request, outcome)

    def _guard(
        self,
        function: Callable[[requests.Request, Any], None],
        request: requests.Request,
        answer: Any,
    ) -> None:
        """Call for one of several requests: it must not cost the others."""
        try:
            function(request, answer)
        except Exception:
            LOG.exception('%s could not be answered', request.name)

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
        self._take_note([(request, outcome)])
        self._tell(request, outcome)

    def _tell(self, request: requests.Request, outcome: requests.Outcome) -> None:
        self.counts.end(outcome.status)
        if request.started is not None:
            seconds = time.monotonic() - request.started
            self.counts.run(request.namespace, outcome.status != requests.DONE, seconds)
        self._answer(request, outcome)

    def _answer(self, request: requests.Request, outcome: requests.Outcome) -> None:
        quiet = request.command is not None and request.command.quiet
        if not request.door.answer(request, outcome) and not quiet:
            self._report(request, outcome)

    def _take_note(self, ended: Sequence[steps.Ended]) -> None:
        for finish_all in self._finish:
            finish_all(ended)

    def _report(self, request: requests.Request, outcome: requests.Outcome) -> None:
        self._reports.report_outcome(
            outcomes.describe(request, outcome), lambda: self._deliver(request)
        )

    def _deliver(self, request: requests.Request) -> None:
        for delivered in self._delivered:
            delivered(request)


def _wake_up() -> None:
    """Do nothing: the loop looks around after each call."""


def _acknowledge(several: Iterable[requests.Request]) -> None:
    for request in several:
        request.acknowledge()


def _overriding(order: Sequence[steps.Step], *hooks: str) -> list[Callable[..., Any]]:
    """Return the last of the bound hooks, of those steps that have any of their own."""
    return [
        getattr(step, hooks[-1])
        for step in order
        if any(
            getattr(type(step), hook) is not getattr(steps.Step, hook) for hook in hooks
        )
    ]
