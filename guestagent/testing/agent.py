# SPDX-License-Identifier: Apache-2.0
"""A whole agent in the test's own process and thread, with a scripted bus.

::

    with agent.Agent({'uptime': Uptime}) as guest:
        guest.bus.requests.script = iter([fates.REPEAT])
        assert guest.call('uptime.read')['seconds'] > 0
        guest.wait(lambda: guest.conductor.heartbeat)

The agent's loop runs while the test waits for something, and at no other time.
"""

from __future__ import annotations

import builtins
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from guestagent import errors, extension
from guestagent import loop as loops
from guestagent.agent import service
from guestagent.bus import base, envelope, topics
from guestagent.conf import agent as options_of_agent
from guestagent.conf import config
from guestagent.testing import bus as buses
from guestagent.testing import conductor as conductors

#: What the name of a section and of an option stands for, as in a file.
Options = Mapping[str, Mapping[str, Any]]

#: The reply queue of the one client that there is.
_QUEUE = 'reply_testing'


class Failed(Exception):
    """A command failed with an error that is not this project's, or Python's own.

    :ivar failure: class, module, message and traceback, as they travelled.
    """

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(f'{failure["class"]}: {failure["message"]}')
        self.failure = dict(failure)


class Call:
    """A request that was sent.

    :ivar id: the id under which its reply comes.
    :ivar replies: the answers that have arrived, repeats and signs of life too.
    """

    def __init__(self) -> None:
        self.id = envelope.unique_id()
        self.replies: list[dict[str, Any]] = []

    @property
    def answered(self) -> bool:
        """Whether the outcome has arrived."""
        return any(reply['ending'] for reply in self.replies)

    def result(self) -> Any:
        """Return the result.

        :raises: what the command raised: this project's errors and Python's own as
            they are, others as :class:`Failed`.
        """
        reply = next(reply for reply in self.replies if reply['ending'])
        if reply['failure'] is None:
            return reply['result']
        failure = json.loads(reply['failure'])
        kind = _error(failure)
        if kind is None:
            raise Failed(failure)
        error = kind.__new__(kind)
        error.args = (failure['message'],)
        raise error


class _Service(service.Service):
    """An agent whose extensions are classes of the test."""

    def __init__(
        self,
        conf: Any,
        make_bus: Callable[[Any, loops.Loop, str], base.Bus],
        kinds: Mapping[str, type[extension.Extension]],
    ) -> None:
        super().__init__(conf, make_bus)
        self._kinds = kinds

    def load(self) -> None:
        """Make them; there are no entry points and no files to look at."""
        for name, kind in self._kinds.items():
            self.registry.make(name, kind, f'{kind.__module__}:{kind.__name__}')


class Agent:
    """A running agent; a context manager that stops it.

    :ivar bus: to script faults on.
    :ivar conductor: what takes the reports.
    :param extensions: the classes, by the names under which they serve.
    :param options: ``{'dispatcher': {'workers': 1}, 'uptime': {...}}``.
    :param instance: the guest's id.
    :param conductor: of an agent before this one, that is the same guest.
    :param state_dir: the folder of an agent before this one, to go on with what it
        has kept; ``None``: one of its own, that is removed when it stops.
    :raises oslo_config.cfg.Error: there is no such option.
    """

    def __init__(
        self,
        extensions: Mapping[str, type[extension.Extension]],
        *,
        options: Options | None = None,
        instance: str = 'guest',
        conductor: conductors.Conductor | None = None,
        state_dir: str | None = None,
    ) -> None:
        self._folder = None
        if state_dir is None:
            self._folder = tempfile.TemporaryDirectory(prefix='guestagent-')
            state_dir = self._folder.name
        self.conductor = conductors.Conductor() if conductor is None else conductor
        self._calls: dict[str, Call] = {}
        self._stopped = False
        self._service = _Service(
            _configuration(extensions, instance, state_dir, options or {}),
            self._make_bus,
            extensions,
        )
        self._loop = self._service.loop
        self._service.load()
        self._service.start()
        self.wait(lambda: self.bus.connected)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(
        self,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        caller: str = '',
        command_id: str | None = None,
        seconds: float = 30,
    ) -> Any:
        """Call ``<extension>.<method>``, or a bare method, and return its result.

        :param command_id: the same when the same command is called again.
        :raises: as :meth:`Call.result` does.
        :raises TimeoutError: no answer came in time; the bus may have lost it.
        """
        sent = self.send(command, args, caller=caller, command_id=command_id)
        self.wait(lambda: sent.answered, seconds, f'the answer to {command}')
        return sent.result()

    def cast(
        self,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        caller: str = '',
        command_id: str | None = None,
    ) -> None:
        """Send a command that wants no answer; its outcome goes to the conductor."""
        self.send(command, args, caller=caller, command_id=command_id, wanted=False)

    def send(
        self,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        caller: str = '',
        command_id: str | None = None,
        version: str | None = None,
        context: Mapping[str, Any] | None = None,
        wanted: bool = True,
    ) -> Call:
        """Send a request and return what its answers will arrive in.

        :param version: ``None``: none, which means 1.0.
        :param context: the caller's RPC context.
        :param wanted: whether an answer is wanted.
        """
        sent = Call()
        namespace, _, method = command.rpartition('.')
        fields: dict[str, Any] = {
            'method': method,
            'args': dict(args or {}),
            '_unique_id': envelope.unique_id(),
        }
        if namespace:
            fields['namespace'] = namespace
        for key, value in (context or {}).items():
            fields[f'_context_{key}'] = value
        if caller:
            fields[f'_context_{topics.CONTEXT_CALLER}'] = caller
        if command_id is not None:
            fields[f'_context_{topics.CONTEXT_COMMAND_ID}'] = command_id
        if version is not None:
            fields['version'] = version
        if wanted:
            fields.update(_msg_id=sent.id, _reply_q=_QUEUE)
            self._calls[sent.id] = sent
        self.bus.request(envelope.wrap(fields), None)
        return sent

    def wait(
        self,
        condition: Callable[[], object],
        seconds: float = 30,
        what: str = 'what was waited for',
    ) -> None:
        """Let the agent run until ``condition()`` is true.

        :raises TimeoutError: it does not become so.
        """
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise TimeoutError(f'{what} did not come within {seconds:g} s')
            # Not for long: what a worker does need not wake the loop.
            self._loop.run_once(0.01)

    def stop(self) -> None:
        """Stop the agent as a signal would: commands end, the last reports leave."""
        if not self._stopped:
            self._stopped = True
            self._service.stop()
            if self._folder is not None:
                self._folder.cleanup()

    def _make_bus(self, _conf: Any, loop: loops.Loop, _instance: str) -> buses.Bus:
        self.bus = buses.Bus(loop, self._take_reply, self.conductor.take)
        return self.bus

    def _take_reply(self, reply: base.Reply) -> None:
        message = json.loads(json.loads(reply.body)['oslo.message'])
        self._calls[message['_msg_id']].replies.append(message)


def _configuration(
    extensions: Mapping[str, type[extension.Extension]],
    instance: str,
    state_dir: str,
    options: Options,
) -> config.Config:
    """Return the configuration of an agent that no file of this machine changes."""
    conf = config.Config()
    options_of_agent.register(conf)
    conf([], project='guestagent', default_config_files=[], default_config_dirs=[])
    for name, kind in extensions.items():
        conf.register_opts(kind.list_options(), group=name)
    conf.set_override('instance_id', instance)
    conf.set_override('state_dir', state_dir)
    # Who tests an extension asks in plain.
    conf.set_override('allow_plain', True, group='seal')
    for section, values in options.items():
        group = None if section == 'DEFAULT' else section
        for name, value in values.items():
            conf.set_override(name, value, group=group)
    return conf


def _error(failure: Mapping[str, Any]) -> type[Exception] | None:
    """Return the class of an error that is this project's, or Python's own."""
    places = (errors, builtins)
    for place in places:
        kind = getattr(place, failure['class'], None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind
    return None
