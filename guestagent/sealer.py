# SPDX-License-Identifier: Apache-2.0
"""Requests that go sealed: keys that may change, and what comes back.

What :mod:`guestagent.client` and :mod:`guestagent.sealed` stand on.
"""

from __future__ import annotations

import builtins
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

import amqp
import oslo_messaging
from kombu import exceptions as kombu_exceptions
from oslo_config import cfg

from guestagent import errors, keyfile, rpc
from guestagent.bus import topics
from guestagent.conf import seal as options
from guestagent.seal import caller as callers
from guestagent.seal import keys

#: The environment variables that name the keys, where the program does not.
KEY_FILE, KEY_COMMAND = 'GUESTAGENT_KEY_FILE', 'GUESTAGENT_KEY_COMMAND'

#: What a transport itself raises.
_TRANSPORT = (
    oslo_messaging.MessagingException,
    kombu_exceptions.KombuError,
    amqp.AMQPError,
)

#: How often it is looked whether a file of keys has changed, in seconds.
_LOOK = 1.0


class Failure(Exception):
    """What a guest has answered with, sealed.

    :ivar about: ``{class, module, message, tb, args, kwargs}``.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__(f'{about.get("class")}: {about.get("message")}')
        self.about = about
        self.name = str(about.get('class'))
        self.message = str(about.get('message'))
        self.module = str(about.get('module'))
        found = about.get('args')
        self.arguments = found if isinstance(found, list) else [self.message]

    def revived(self) -> Exception | None:
        """Return it as the error of this project, or Python's own, that it was."""
        places = {'builtins': builtins, errors.__name__: errors}
        kind = getattr(places.get(self.module), self.name, None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return None
        # Not by a call: what the guest says need not be what the class wants.
        made = kind.__new__(kind)
        made.args = tuple(self.arguments)
        return made


class Sealer:
    """A caller whose keys may change; for all threads.

    :param key_file: is read again when it has changed.
    :param key_command: in its place; :meth:`reload` runs it again.
    :param name: of the caller; ``''``: the only one that there are keys of.
    :raises guestagent.errors.ConfigError: the keys cannot be used.
    """

    def __init__(self, key_file: str, key_command: str, name: str = '') -> None:
        self._source = (key_file, key_command)
        self._name = name
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._state = self._stat()
        self._caller = self._make()
        self.name = self._caller.name

    def reload(self) -> None:
        """Read the keys again.

        :raises guestagent.errors.ConfigError: they make no sense; those before stay.
        """
        with self._lock:
            self._caller.use(self._read())

    def request(
        self,
        instance: str,
        what: tuple[str | None, str, str],
        args: Mapping[str, Any],
        context: Mapping[str, Any],
        command_id: str,
        *,
        waits: bool,
        lifetime: float,
        send: Callable[[dict[str, str]], Any],
    ) -> Any:
        """Seal a command, send it, and return the result that came sealed.

        It is sealed anew, once, when the guest says that it has another time.

        :param what: namespace, method, version.
        :param lifetime: seconds in which the guest must have taken it.
        :param send: sends arguments of ``sealed.invoke``; returns what comes back.
        :raises Failure: what the guest answered.
        :raises guestagent.errors.NotSealed: what came was not sealed by it.
        """
        self._look()
        caller = self._caller
        for anew in (True, False):
            sent = caller.seal(
                instance,
                *what,
                args,
                context,
                command_id,
                waits=waits,
                lifetime=lifetime,
                now=time.time(),
            )
            answer = send({'value': sent.value})
            if not waits:
                return None
            result, failure = caller.open(sent, answer)
            if failure is None:
                return result
            if not (caller.adjust(sent, failure) and anew):
                break
        raise Failure(failure or {})

    def _look(self) -> None:
        """Read the file again if it has changed; a wrong one changes nothing yet."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        with self._lock:
            self._looked = now
            state = self._stat()
            if state != self._state:
                self._caller.use(self._read())
                self._state = state

    def _stat(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._source[0])
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _make(self) -> callers.Caller:
        return callers.Caller(self._read(), self._name or None)

    def _read(self) -> keys.MasterRing:
        return keys.MasterRing(keyfile.read(*self._source), keys.COMMANDS)


def configured(
    key_file: str | None = None,
    key_command: str | None = None,
    conf: cfg.ConfigOpts | None = None,
    name: str = '',
) -> Sealer | None:
    """Return what seals, as the program, its configuration or the environment says.

    :param key_file: and ``key_command``; both ``None``: look elsewhere.
    :param conf: may have a section ``[seal]``.
    :returns: ``None``: there are no keys.
    :raises guestagent.errors.ConfigError: there are, and they cannot be used.
    """
    if key_file is None and key_command is None:
        key_file, key_command = os.environ.get(KEY_FILE), os.environ.get(KEY_COMMAND)
        if not (key_file or key_command) and conf is not None:
            options.register(conf, options.KEYS)
            section = conf[options.SECTION]
            key_file, key_command = section.key_file, section.key_command
    if not (key_file or key_command):
        return None
    return Sealer(key_file or '', key_command or '', name)


class Bus:
    """What :class:`guestagent.rpc.Bus` is, for guests and with a seal."""

    def __init__(self, bus: rpc.Bus, source: Sealer) -> None:
        self._bus = bus
        self._sealer = source

    def request(
        self,
        who: str,
        send: Literal['call', 'cast'],
        target: Mapping[str, Any],
        context: Mapping[str, Any],
        method: str,
        arguments: Mapping[str, Any],
        lifetime: float = callers.CAST_LIFETIME,
    ) -> Any:
        """Seal a command, send it, and return the result.

        :param lifetime: of a cast, in seconds; that of a call is its timeout.
        :raises guestagent.errors.NotSealed: the answer was not.
        :raises: what :meth:`guestagent.rpc.Bus.request` raises.
        """
        inside = dict(context)
        inside.pop(topics.CONTEXT_CALLER, None)
        command_id = inside.pop(topics.CONTEXT_COMMAND_ID, None) or uuid.uuid4().hex
        version = target.get('version', '1.0')
        outside = {**target, 'namespace': callers.NAMESPACE, 'version': callers.VERSION}

        def transmit(value: dict[str, str]) -> Any:
            try:
                return self._bus.request(who, send, outside, {}, callers.METHOD, value)
            except (rpc.BusError, rpc.NoAnswer):
                raise
            except errors.GuestAgentError as error:
                raise not_sealed(who, error) from error

        try:
            return self._sealer.request(
                instance_of(target['topic']),
                (target.get('namespace'), method, version),
                arguments,
                inside,
                command_id,
                waits=send == 'call',
                lifetime=target.get('timeout', lifetime),
                send=transmit,
            )
        except Failure as failure:
            raise _error(failure, who, method, version) from None


def instance_of(topic: str) -> str:
    """Return the guest whose topic this is.

    :raises guestagent.errors.InvalidArgument: it is none's.
    """
    prefix, _, instance = topic.partition('.')
    if topics.request_topic(instance) != topic or not prefix:
        raise errors.InvalidArgument(
            f'topic {topic!r} is not that of a guest: guestagent.<instance id>'
        )
    return instance


def is_remote(error: BaseException) -> bool:
    """Whether oslo.messaging has made this error of a plain reply.

    It gives Python's own back as they are, and marks those of others.
    """
    return (
        not isinstance(error, _TRANSPORT)
        or isinstance(error, oslo_messaging.RemoteError)
        or type(error).__name__.endswith('_Remote')
    )


def not_sealed(who: str, error: BaseException) -> errors.NotSealed:
    """Return what is raised in place of an error that came in plain."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return errors.NotSealed(
        f'{who} answered without a seal, so it may have been anybody: {lines[0]}; has '
        f'the guest got its keys?'
    )


def _error(
    failure: Failure, who: str, method: str, version: str
) -> errors.GuestAgentError:
    """Return what the guest answered as ``rpc.Bus`` raises it."""
    if failure.module == errors.NoSuchMethod.wire_module:
        if failure.name == errors.NoSuchMethod.__name__:
            return errors.NoSuchMethod(method)
        return errors.UnsupportedVersion(version, method)
    known = failure.revived()
    if isinstance(known, errors.GuestAgentError):
        return known
    if (failure.module, failure.name) == ('builtins', 'TypeError'):
        return errors.InvalidArgument(failure.message)
    return errors.GuestError(f'{who} failed: {failure.name}: {failure.message}')
