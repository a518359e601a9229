# SPDX-License-Identifier: Apache-2.0
"""The door for oslo.messaging RPC: from a delivery to a request, and back.

Each bus shares it.  What cannot be read gets no answer: it is acknowledged, counted
and logged at a limited rate.
"""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable
from typing import Any

from guestagent import errors, logs
from guestagent import loop as loops
from guestagent.agent import request as requests
from guestagent.bus import base, envelope, topics

LOG = logging.getLogger(__name__)

#: How many ``_unique_id`` are remembered; oslo.messaging remembers 16.
REMEMBERED_IDS = 256


class RpcDoor:
    """Makes requests of what the bus delivers.

    :param submit: takes each request, on the loop.
    :param replied: hears of the reply to a mutating request what became of it.
    """

    def __init__(
        self,
        bus: base.Bus,
        loop: loops.Loop,
        submit: Callable[[requests.Request], None],
        replied: Callable[[requests.Request, requests.Outcome, base.Sent], None],
        max_result_size: int,
    ) -> None:
        self.bus = bus
        self.loop = loop
        self.replied = replied
        self.max_result_size = max_result_size
        self._submit = submit
        self._seen: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._log_limit = logs.RateLimit()
        #: How many messages were no requests, for the agent's own statistics.
        self.unreadable = 0
        self.repeated = 0

    def receive(self, delivery: base.Delivery) -> None:
        """Take a delivery from the bus."""
        try:
            message = delivery.read()
        except envelope.Unreadable as error:
            self.unreadable += 1
            delivery.acknowledge()
            self._complain(
                'unreadable', 'dropped a message that is no request: %s', error
            )
            if isinstance(error, envelope.TooLarge):
                self._refuse(delivery, error)
            return
        if self._is_repeat(message.unique_id):
            self.repeated += 1
            delivery.acknowledge()
            return
        self._submit(self._request(message, delivery))

    def _refuse(self, delivery: base.Delivery, found: envelope.TooLarge) -> None:
        """Answer a request that was not read, if its end says whom."""
        if found.msg_id and topics.is_reply_queue(found.reply_queue):
            error = errors.RequestTooLarge(str(found))
            body = envelope.failure(found.msg_id, error)
            self.bus.reply(
                base.Reply(delivery, str(found.reply_queue), body, error=error)
            )

    def _request(
        self, message: envelope.Message, delivery: base.Delivery
    ) -> requests.Request:
        body, context = message.body, message.context
        command_id = context.get(topics.CONTEXT_COMMAND_ID)
        id_given = topics.is_command_id(command_id)
        if not id_given:
            command_id = _fallback_id(message.unique_id)
        caller = context.get(topics.CONTEXT_CALLER)
        expires = None
        if delivery.lifetime is not None and message.msg_id:
            expires = time.monotonic() + delivery.lifetime
        return requests.Request(
            body.get('namespace'),
            body.get('method'),
            body.get('version', '1.0'),
            body.get('args', {}),
            caller=caller if isinstance(caller, str) else '',
            command_id=str(command_id),
            id_given=id_given,
            values=context,
            expires=expires,
            door=_Call(self, delivery, message),
        )

    def _is_repeat(self, unique_id: Any) -> bool:
        """Whether this sending came before; one without an id never did."""
        if not unique_id or not isinstance(unique_id, str):
            return False
        if unique_id in self._seen:
            return True
        self._seen[unique_id] = None
        if len(self._seen) > REMEMBERED_IDS:
            self._seen.popitem(last=False)
        return False

    def _complain(self, key: str, text: str, *args: object) -> None:
        held = self._log_limit.allow(key)
        if held is not None:
            LOG.warning(text + ' (%d more since the last line like this)', *args, held)


class _Call(requests.Door):
    """The way back of one request."""

    __slots__ = ('_delivery', '_door', '_life', '_msg_id', '_queue', '_seal')

    def __init__(
        self, door: RpcDoor, delivery: base.Delivery, message: envelope.Message
    ) -> None:
        self._door = door
        self._delivery = delivery
        self._msg_id = message.msg_id
        self._queue: str | None = None
        self._life: float | None = None
        self._seal: Callable[[requests.Outcome], requests.Outcome] | None = None
        if message.msg_id:
            if topics.is_reply_queue(message.reply_queue):
                self._queue = message.reply_queue
                self._life = message.monitor / 2 if message.monitor else None
            else:
                door._complain(
                    'reply',
                    'a call names the reply queue %r: replies go only to '
                    'reply_*; it runs and gets no answer',
                    message.reply_queue,
                )

    @property
    def wants_reply(self) -> bool:  # type: ignore[override]
        """Whether this was a call."""
        return self._queue is not None

    def acknowledge(self) -> None:
        """See the base class."""
        self._delivery.acknowledge()

    def answer(self, request: requests.Request, outcome: requests.Outcome) -> bool:
        """Encode on this thread; send on it if the bus can, else on the loop's."""
        if self._queue is None:
            return False
        sealed = outcome if self._seal is None else self._seal(outcome)
        reply = self._encode(sealed, self._queue)
        if not request.mutates:
            # To wake the loop for it would take longer than to send it.
            if not self._sent_at_once(reply):
                self._door.loop.call_soon(self._send, reply, None)
            return True

        def done(sent: base.Sent) -> None:
            self._door.replied(request, outcome, sent)

        self._door.loop.call_soon(self._send, reply, done)
        return True

    def seal_with(self, seal: Callable[[requests.Outcome], requests.Outcome]) -> None:
        """See the base class."""
        self._seal = seal

    def sign_of_life(self) -> None:
        """See the base class; not to a client that has gone."""
        queue = self._queue
        if queue is not None and not self._door.bus.is_gone(queue):
            body = envelope.sign_of_life(self._msg_id)
            self._door.bus.reply(base.Reply(self._delivery, queue, body, ending=False))

    @property
    def life_interval(self) -> float | None:
        """Half of what the caller waits for, as oslo.messaging does."""
        return self._life

    def _sent_at_once(self, reply: base.Reply) -> bool:
        bus = self._door.bus
        return not bus.is_gone(reply.queue) and bus.reply_at_once(reply)

    def _send(
        self, reply: base.Reply, done: Callable[[base.Sent], None] | None
    ) -> None:
        if not self._door.bus.is_gone(reply.queue):
            self._door.bus.reply(reply, done)
        elif done is not None:
            done(base.Sent.RETURNED)

    def _encode(self, outcome: requests.Outcome, queue: str) -> base.Reply:
        """Return the outcome as a reply that can be sent, or say why it cannot."""
        error = outcome.error
        if error is None:
            try:
                body = envelope.reply(self._msg_id, outcome.result)
            except (TypeError, ValueError, RecursionError) as caught:
                error = errors.BadResult(f'the result cannot be sent as JSON: {caught}')
            else:
                error = self._too_large(len(body))
        if error is not None:
            body = envelope.failure(self._msg_id, error)
            return base.Reply(self._delivery, queue, body, error=error)
        return base.Reply(self._delivery, queue, body, outcome.result)

    def _too_large(self, size: int) -> errors.ResultTooLarge | None:
        allowed = self._door.max_result_size
        # What is sealed was measured before it was, and grows by a third.
        if size <= allowed or self._seal is not None:
            return None
        return errors.ResultTooLarge(
            f'the result takes {size} bytes; [dispatcher] max_result_size '
            f'allows {allowed}'
        )


def _fallback_id(unique_id: Any) -> str:
    if topics.is_command_id(unique_id):
        return str(unique_id)
    return envelope.unique_id()
