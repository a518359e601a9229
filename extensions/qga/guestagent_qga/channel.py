# SPDX-License-Identifier: Apache-2.0
"""``qga``: the channel inside of the agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guestagent import channel
from guestagent_qga import guest as guests
from guestagent_qga import state, worker
from guestagent_qga.transports import opening

if TYPE_CHECKING:
    from oslo_config import cfg


class Qga(channel.Channel):
    """Serves the clients of qemu-ga, with the extensions that this agent has."""

    def __init__(self, name: str, conf: Any, host: channel.Host) -> None:
        super().__init__(name, conf, host)
        self._transport: opening.Transport | None = None

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        """Return the options of [qga]."""
        from guestagent_qga import conf

        return conf.OPTIONS

    def start(self) -> None:
        """Open the transport; a device that is not there yet is waited for."""
        conf = self.conf
        settings = guests.Settings(
            conf.version,
            frozenset(conf.block_rpcs),
            frozenset(conf.allow_rpcs) or None,
            conf.answer_limit,
            conf.freeze_limit,
        )
        guest = guests.Guest(self.host, settings, state.State(self.host.state_dir))
        workers = worker.Workers()
        self._transport = opening.make(
            self.host.loop, conf.method, conf.path, guest, workers, retry=True
        )
        self._transport.start()
        if guest.frozen:
            workers.submit(guest.look_again)

    def pause(self) -> None:
        """Take no more requests."""
        if self._transport is not None:
            self._transport.pause()

    def stop(self) -> None:
        """Close the transport."""
        if self._transport is not None:
            self._transport.stop()

    def health(self) -> str:
        """Return why the device cannot be used, if it cannot."""
        if self._transport is None:
            return 'not started'
        return self._transport.problem or 'ok'
