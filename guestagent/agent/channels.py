# SPDX-License-Identifier: Apache-2.0
"""The channels of this agent: loaded where the configuration names any."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from guestagent import channel, errors
from guestagent import loop as loops
from guestagent.agent import dispatcher as dispatchers
from guestagent.agent import finding, registry, state
from guestagent.agent import request as requests
from guestagent.bus import base, envelope, topics

LOG = logging.getLogger(__name__)

GROUP = 'guestagent.channels'


class _Door(requests.Door):
    """The way back of one request."""

    __slots__ = ('_answer', '_host')

    wants_reply = True
    by_channel = True

    def __init__(self, host: _Host, answer: channel.Answer) -> None:
        self._host = host
        self._answer = answer

    def answer(self, request: requests.Request, outcome: requests.Outcome) -> bool:
        """Call the channel back; what it was told need not be reported."""
        if outcome.status == requests.WITHHELD:
            error: BaseException | None = errors.GuestError(
                'it is done, but its result was secret and is not kept'
            )
        else:
            error = outcome.error
        self._answer(outcome.result, error)
        if request.mutates:
            self._host.delivered(request, outcome)
        return True


class _Host(channel.Host):
    """What one channel is given."""

    def __init__(
        self,
        name: str,
        loop: loops.Loop,
        dispatcher: dispatchers.Dispatcher,
        known: registry.Registry,
        folder: str,
    ) -> None:
        self.loop = loop
        self.state_dir = folder
        self._name = name
        self._dispatcher = dispatcher
        self._known = known

    def submit(
        self,
        namespace: str,
        method: str,
        args: Mapping[str, Any],
        answer: channel.Answer,
        *,
        version: str = '1.0',
        command_id: str | None = None,
    ) -> None:
        """See the base class."""
        given = topics.is_command_id(command_id)
        request = requests.Request(
            namespace,
            method,
            version,
            dict(args),
            caller=self._name,
            command_id=str(command_id) if given else envelope.unique_id(),
            id_given=given,
            values={},
            door=_Door(self, answer),
            proven=True,
        )
        self.loop.call_soon(self._dispatcher.submit, request)

    def serves(self, namespace: str) -> bool:
        """See the base class."""
        return self._known.find(namespace) is not None

    def delivered(self, request: requests.Request, outcome: requests.Outcome) -> None:
        """Note that the channel has the outcome; from any thread."""
        self.loop.call_soon(
            self._dispatcher.replied, request, outcome, base.Sent.CONFIRMED
        )


class Channels:
    """Those that ``[DEFAULT] enabled_channels`` names.

    :param conf: with the options of :mod:`guestagent.conf.agent` registered.
    """

    def __init__(
        self,
        conf: Any,
        loop: loops.Loop,
        dispatcher: dispatchers.Dispatcher,
        known: registry.Registry,
    ) -> None:
        self._conf = conf
        self._loop = loop
        self._dispatcher = dispatcher
        self._known = known
        self._loaded: dict[str, channel.Channel] = {}
        self._problems: dict[str, str] = {}
        self._started: list[channel.Channel] = []
        # Replaced, never changed: it is read on other threads.
        self._listening: tuple[channel.Channel, ...] = ()

    def load(self, names: Iterable[str]) -> None:
        """Load and register the named channels.

        :raises guestagent.errors.ConfigError: one cannot be: an agent without the door
            that its operator wants is of no use.
        """
        for name, kind in find(self._conf, names).items():
            folder = os.path.join(self._conf.state_dir, 'channels', name)
            host = _Host(name, self._loop, self._dispatcher, self._known, folder)
            section = self._conf[name] if kind.list_options() else None
            self._loaded[name] = kind(name, section, host)

    def start(self) -> None:
        """Start them, when the extensions have been."""
        for name, made in self._loaded.items():
            try:
                state.prepare(made.host.state_dir)
                made.start()
            except Exception as error:
                self._problems[name] = f'failed to start: {error}'
                LOG.exception('channel %s: %s', name, self._problems[name])
            else:
                self._started.append(made)
                if type(made).event is not channel.Channel.event:
                    self._listening = (*self._listening, made)

    def tell(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """Let those hear of an event that care; from any thread."""
        for made in self._listening:
            self._loop.call_soon(made.event, extension, name, data)

    def pause(self) -> None:
        """Let no more requests in."""
        for made in self._started:
            self._guard(made, made.pause)

    def stop(self) -> None:
        """Stop them, in the reverse order."""
        self._listening = ()
        for made in reversed(self._started):
            self._guard(made, made.stop)
        self._started.clear()

    def healths(self) -> dict[str, str]:
        """Return how each is, by name."""
        return {
            name: self._problems.get(name) or made.health()
            for name, made in self._loaded.items()
        }

    def _guard(self, made: channel.Channel, function: Any) -> None:
        try:
            function()
        except Exception:
            LOG.exception('channel %s: %s failed', made.name, function.__name__)


def find(conf: Any, names: Iterable[str]) -> dict[str, type[channel.Channel]]:
    """Return the classes of the named channels; their options are registered.

    :raises guestagent.errors.ConfigError: one cannot be loaded, or two claim its name.
    """
    wanted = list(dict.fromkeys(names))
    found = finding.entry_points(GROUP)
    finding.refuse_conflicts(wanted, found, 'channel')
    manager = finding.Manager(wanted, found, _refuse, GROUP)
    kinds: dict[str, type[channel.Channel]] = {}
    for plugin in manager.extensions:
        kinds[plugin.name] = plugin.plugin
    for name in wanted:
        if name not in kinds:
            raise errors.ConfigError(
                f'enabled_channels: no installed package has the entry point {name!r} '
                f'in the group {GROUP}'
            )
        options = kinds[name].list_options()
        if options:
            conf.register_opts(options, group=name)
    return {name: kinds[name] for name in wanted}


def _refuse(
    _manager: Any, entry: importlib.metadata.EntryPoint, error: BaseException
) -> None:
    raise errors.ConfigError(
        f'channel {entry.name!r} cannot be loaded from {entry.value}: '
        f'{type(error).__name__}: {error}'
    ) from error
