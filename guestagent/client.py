# SPDX-License-Identifier: Apache-2.0
"""What a control plane imports to talk to guests and to the conductor.

It is a stock oslo.messaging client that keeps the rules of doc/wire.rst for its
caller: it chooses the id of each command and repeats a call with the same one, it
publishes ``mandatory``, so that a guest that the bus does not know is noticed at once
instead of after the timeout, and it raises what went wrong on the other side as the
classes of :mod:`guestagent.errors`.

::

    with client.Client(url='rabbit://user:secret@broker/', caller='me') as guests:
        result = guests.call('vm-1', 'exec.run', {'argv': ['uptime']}, timeout=20)
        command_id = guests.cast('vm-1', 'exec.run', {'argv': ['make', 'all']})
        record = guests.wait('vm-1', command_id, timeout=600)

oslo.messaging loads eventlet wherever it is installed; a program that does not want
it says so before it imports this module (doc/client.rst).
"""

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import oslo_messaging
from oslo_config import cfg

from guestagent import errors, rpc, sealer
from guestagent.bus import topics
from guestagent.records import Conductor, Record
from guestagent.rpc import BusError, NoAnswer, NoSuchGuest, pauses
from guestagent.seal import caller as callers

__all__ = [
    'BusError',
    'Client',
    'Conductor',
    'NoAnswer',
    'NoSuchGuest',
    'Record',
    'pauses',
]

_VERSION = re.compile(r'\d+\.\d+\Z')


class Client:
    """Calls and casts to guests; it may be shared by threads.

    :param transport: an oslo.messaging RPC transport that the program has already;
        one whose ``allowed_remote_exmods`` lacks ``guestagent.errors`` turns the
        errors of guests into :class:`guestagent.errors.GuestError`.
    :param url: a transport URL, where there is no transport.
    :param conf: an oslo.config configuration for the transport.
    :param caller: the name by which guests know who asks; with keys it is theirs.
    :param exchange: the control exchange of the guests.
    :param timeout: seconds for a question to the conductor.
    :param bus_retries: how often a connection to the bus is tried again, the first
        time after a second.
    :param key_file: where the master keys are that commands are sealed with; without
        it and ``key_command`` the environment counts (``GUESTAGENT_KEY_FILE``), then
        ``[seal]`` in ``conf``; ``''``: commands go in plain.
    :param key_command: prints what would stand there.
    :ivar conductor: the conductor on the same bus.
    :raises guestagent.errors.ConfigError: the URL is wrong, or the keys are.
    """

    def __init__(
        self,
        transport: oslo_messaging.Transport | None = None,
        url: str | None = None,
        conf: cfg.ConfigOpts | None = None,
        caller: str = '',
        exchange: str = topics.CONTROL_EXCHANGE,
        timeout: float = 30,
        bus_retries: int = 2,
        key_file: str | None = None,
        key_command: str | None = None,
    ) -> None:
        keys = sealer.configured(key_file, key_command, conf, caller)
        self.caller = caller if keys is None else keys.name
        self._bus = rpc.Bus(transport, url, conf, exchange, bus_retries)
        self._sealed = None if keys is None else sealer.Bus(self._bus, keys)
        self.conductor = Conductor(self._bus, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the bus."""
        self._bus.close()

    def call(
        self,
        instance: str,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        version: str = '1.0',
        timeout: float = 60,
        command_id: str | None = None,
        retries: int | None = None,
        attempt_timeout: float | None = None,
        call_monitor_timeout: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a command in a guest and return its result.

        It is repeated with the same id when no answer came, or when the guest is
        busy: at once in the first case, after growing pauses in the second, and only
        while ``timeout`` allows.  A command that changes the guest does not run twice
        for that; one that reads may.

        :param command: ``<extension>.<verb>``.
        :param timeout: seconds for all attempts together.
        :param command_id: given when a former call is to be repeated.
        :param retries: how often at most it is repeated; ``None``: no limit.
        :param attempt_timeout: seconds for one attempt; ``None``: all that are left.
        :param call_monitor_timeout: seconds, at least 2, without a sign of life from
            the guest, after which the attempt counts as unanswered.
        :param context: more of the RPC context, which extensions can read.
        :raises NoSuchGuest: its agent has never connected to this bus.
        :raises NoAnswer: no answer came in time.
        :raises BusError: the bus cannot be reached.
        :raises guestagent.errors.GuestAgentError: what the guest answered.
        """
        identity = self._context(command_id, context)
        method, target = _target(instance, command, version)
        target['call_monitor_timeout'] = call_monitor_timeout

        def attempt(left: float) -> Any:
            target['timeout'] = min(left, attempt_timeout or left)
            return self._request(
                'call', instance, method, target, identity, arguments or {}
            )

        return _repeat(attempt, _positive(timeout, 'timeout'), retries)

    def cast(
        self,
        instance: str,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        version: str = '1.0',
        command_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        lifetime: float = callers.CAST_LIFETIME,
    ) -> str:
        """Send a command without waiting for it, and return its id.

        It waits in the guest's queue until its agent takes it.  :meth:`wait` returns
        its outcome.

        :param lifetime: seconds in which the guest must take it, if it is sealed; at
            most the guest's ``[seal] max_age``.
        :raises NoSuchGuest: its agent has never connected to this bus.
        :raises BusError: the bus cannot be reached.
        """
        identity = self._context(command_id, context)
        method, target = _target(instance, command, version)
        self._request(
            'cast',
            instance,
            method,
            target,
            identity,
            arguments or {},
            _positive(lifetime, 'lifetime'),
        )
        return str(identity[topics.CONTEXT_COMMAND_ID])

    def wait(self, instance: str, command_id: str, timeout: float = 60) -> Record:
        """Ask the conductor for the outcome of a cast until it has one.

        :returns: the record of :meth:`Conductor.command_show`.
        :raises NoAnswer: no outcome has come within ``timeout`` seconds.
        :raises BusError: the bus cannot be reached.
        """
        deadline = time.monotonic() + _positive(timeout, 'timeout')
        for pause in pauses(0.1, 3):
            # The last question gets time for its answer, too.
            conductor = self.conductor.within(max(deadline - time.monotonic(), 1))
            with contextlib.suppress(errors.NoSuchRecord, errors.NoSuchInstance):
                return conductor.command_show(instance, command_id, self.caller)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
        raise NoAnswer(
            f'no outcome of command {command_id} within {timeout:g} s: guest '
            f'{instance!r} may be down, or still be at work'
        )

    def ping(self, instance: str, timeout: float = 5) -> float:
        """Have the guest's agent answer, and return the seconds that it took.

        :raises NoSuchGuest: its agent has never connected to this bus.
        :raises NoAnswer: no answer came in time.
        :raises BusError: the bus cannot be reached.
        """
        target = {
            'topic': topics.request_topic(topics.check_instance_id(instance)),
            'timeout': _positive(timeout, 'timeout'),
        }
        start = time.monotonic()
        self._request('call', instance, 'oslo_rpc_server_ping', target, {}, {})
        return time.monotonic() - start

    def _context(
        self, command_id: str | None, context: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the RPC context of a command, with its identity in it."""
        if command_id is None:
            command_id = uuid.uuid4().hex
        elif not topics.is_command_id(command_id):
            raise errors.InvalidArgument(
                f'command id {command_id!r}: it must be 1 to 64 of A-Z a-z 0-9 _ . -'
            )
        return {
            **(context or {}),
            topics.CONTEXT_COMMAND_ID: command_id,
            topics.CONTEXT_CALLER: self.caller,
        }

    def _request(
        self,
        send: Literal['call', 'cast'],
        instance: str,
        method: str,
        target: Mapping[str, Any],
        context: Mapping[str, Any],
        arguments: Mapping[str, Any],
        lifetime: float = callers.CAST_LIFETIME,
    ) -> Any:
        who = f'guest {instance!r}'
        try:
            if self._sealed is None:
                return self._bus.request(who, send, target, context, method, arguments)
            return self._sealed.request(
                who, send, target, context, method, arguments, lifetime
            )
        except rpc.Unrouted:
            raise NoSuchGuest(
                f'no guest {instance!r} on this bus (exchange {self._bus.exchange!r}): '
                'its agent has never connected, or the name is wrong'
            ) from None
        except NoAnswer as error:
            raise NoAnswer(
                f'guest {instance!r} did not answer within {target["timeout"]:.3g} s: '
                f'it may be down, or still be at work{self._silence}'
            ) from error

    @property
    def _silence(self) -> str:
        """What else it means that there is no answer, as the end of a sentence."""
        if self._sealed is None:
            return ', or take only what is sealed'
        return f', or not have a valid key of {self.caller!r}'


def _repeat(
    attempt: Callable[[float], Any], timeout: float, retries: int | None
) -> Any:
    """Return what ``attempt`` does, called with the seconds that are left.

    What is transient is tried again, but not a bus that cannot be reached: that has
    been tried again already.
    """
    deadline = time.monotonic() + timeout
    busy = pauses(0.2, 5)
    repeats = 0
    while True:
        try:
            return attempt(max(deadline - time.monotonic(), 0.001))
        except BusError:
            raise
        except errors.Transient as error:
            pause = 0 if isinstance(error, NoAnswer) else next(busy)
            if repeats == retries or time.monotonic() + pause >= deadline:
                raise
        time.sleep(pause)
        repeats += 1


def _target(instance: str, command: str, version: str) -> tuple[str, dict[str, Any]]:
    """Return a command's method, and what ``RPCClient.prepare`` takes for it.

    :raises guestagent.errors.InvalidArgument: a name or the version may not be one.
    """
    topics.check_instance_id(instance)
    namespace, _, method = command.partition('.')
    if not namespace or not method:
        raise errors.InvalidArgument(
            f'command {command!r}: write <extension>.<verb>, as exec.run'
        )
    if not _VERSION.match(version):
        raise errors.InvalidArgument(
            f'version {version!r}: write <major>.<minor>, as 1.0'
        )
    return method, {
        'topic': topics.request_topic(instance),
        'namespace': namespace,
        'version': version,
    }


def _positive(seconds: float, name: str) -> float:
    if seconds <= 0:
        raise errors.InvalidArgument(f'{name} {seconds:g}: it must be above 0')
    return seconds
