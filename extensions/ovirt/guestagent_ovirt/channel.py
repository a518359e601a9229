# SPDX-License-Identifier: Apache-2.0
"""``ovirt``: what VDSM expects of a guest, on the channel of ovirt-guest-agent."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guestagent import channel, errors, hookfolder
from guestagent_ovirt import conversation, port

if TYPE_CHECKING:
    from oslo_config import cfg

LOG = logging.getLogger(__name__)

#: The port's name, and an older one, which counts where it is there.
NAME, OLD_NAME = 'ovirt-guest-agent.0', 'com.redhat.rhevm.vdsm'


class Ovirt(channel.Channel):
    """Speaks the protocol of ovirt-guest-agent, versions 0 to 3, with a host."""

    def __init__(self, name: str, conf: Any, host: channel.Host) -> None:
        super().__init__(name, conf, host)
        self._conversation = conversation.Conversation(
            conf, self._send, self._ask, host.loop.call_later, self._hooks
        )
        self._port = port.Port(
            host.loop, self._path, self._conversation.take, self._conversation.cut
        )

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options of ``[ovirt]``."""
        from guestagent_ovirt import conf

        return conf.OPTIONS

    def start(self) -> None:
        """Open the port and begin to talk."""
        self._port.open()
        self._conversation.begin()

    def pause(self) -> None:
        """Say goodbye, and take no more commands."""
        self._conversation.end()

    def stop(self) -> None:
        """Close the port."""
        self._port.close()

    def event(self, extension: str, name: str, data: Mapping[str, Any]) -> None:
        """Hear of sessions from ``desktop``."""
        if extension == 'desktop':
            self._conversation.note_session(name)

    def health(self) -> str:
        """Return why there is no port, if there is none."""
        return self._port.problem or 'ok'

    def _send(self, line: bytes) -> None:
        self._port.send(line)

    def _ask(
        self,
        namespace: str,
        method: str,
        args: Mapping[str, Any],
        then: Callable[[Any, BaseException | None], None],
    ) -> None:
        """Have a command run; its answer comes on the loop."""
        call_soon = self.host.loop.call_soon
        if not self.host.serves(namespace):
            error = errors.ExtensionUnavailable(
                f'extension {namespace!r} is not loaded'
            )
            call_soon(then, None, error)
            return
        self.host.submit(
            namespace,
            method,
            args,
            lambda result, error: call_soon(then, result, error),
        )

    def _path(self) -> str:
        old = os.path.join(self.conf.device_prefix, OLD_NAME)
        return (
            old if os.path.exists(old) else os.path.join(self.conf.device_prefix, NAME)
        )

    def _hooks(self, event: str) -> hookfolder.Found:
        """Return the programs in an event's folder."""
        return hookfolder.find(os.path.join(self.conf.hooks, event))
