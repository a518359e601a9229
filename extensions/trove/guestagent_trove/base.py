# SPDX-License-Identifier: Apache-2.0
"""What all groups of commands share: the instance's state, the seal, the conductor, and
the way to the extension ``datastore``.
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_trove import conductor as conductors
from guestagent_trove import conf as options
from guestagent_trove import sealing
from guestagent_trove import state as states

LOG = logging.getLogger(__name__)

#: Trove's words for what ``datastore.status`` says.
STATUSES = {
    'healthy': 'healthy',
    'running': 'running',
    'shutdown': 'shutdown',
    'crashed': 'crashed',
}
#: Seconds for which a command without a limit of its own waits for another one to end,
#: and between two looks.
WAIT_SECONDS, LOOK_SECONDS = 120.0, 0.5

CUT_SHORT = 'the agent or the guest went down before it was done'


class Base(extension.Extension):
    """An instance of Trove.

    :ivar state: what outlives the agent.
    :ivar conductor: Trove's.
    """

    bare = True
    version = '1.3'
    options = options.OPTIONS

    def __init__(self, name: str, conf: Any, host: extension.Host) -> None:
        super().__init__(name, conf, host)
        self._seal: sealing.Seal | None = None
        self.state: states.State
        self.conductor: conductors.Conductor

    def start(self) -> None:
        """Take up what is known, and tell of what was cut short."""
        instance = self.conf.guest_id
        if not instance:
            raise errors.ConfigError(
                '[trove] guest_id is not set: start the agent with '
                '--config-dir=/etc/trove/conf.d, where Trove puts guest_info.conf'
            )
        if self.conf.instance_rpc_encr_key:
            self._seal = sealing.Seal(instance, self.conf.instance_rpc_encr_key)
        else:
            LOG.warning(
                'Trove has given this instance no key: its requests are plain, and '
                'change the guest only with [seal] allow_plain = true'
            )
        self.state = states.State(pathlib.Path(self.conf.state_folder))
        self.conductor = conductors.Conductor(
            self.cast, self.conf.conductor_queue, instance, self._seal, self.state
        )
        for number, work in self.state.begun().items():
            self._give_up(work)
            self.state.end(number)

    def unseal(self, args: Any, values: Mapping[str, Any]) -> extension.Opened | None:
        """See the base class."""
        return None if self._seal is None else self._seal.open(args, values)

    def interrupted(self, method: str, command_id: str) -> None:
        """See the base class."""
        if method in ('prepare', 'rebuild') and self.state.phase != states.READY:
            self.state.set(phase=states.FAILED)
            self.beat()

    @extension.periodic(spacing=25, option='heartbeat_interval')
    def report(self) -> None:
        """Tell the conductor the instance's status, and again what it may have lost."""
        self.beat()
        self.conductor.tell_again()

    def beat(self) -> None:
        """Tell the status now."""
        self.conductor.heartbeat(self._status)

    def ask(
        self, verb: str, context: extension.Context | None = None, **arguments: Any
    ) -> Any:
        """Run a command of ``datastore``; wait for another change to end.

        :raises guestagent.errors.Transient: it does not end.
        """
        left = None if context is None else context.remaining()
        until = time.monotonic() + (WAIT_SECONDS if left is None else left)
        while True:
            try:
                return self.call('datastore', verb, context=context, **arguments)
            except errors.Transient:
                if time.monotonic() > until:
                    raise
            if context is not None:
                context.check()
            time.sleep(LOOK_SECONDS)

    @contextlib.contextmanager
    def telling(
        self, context: extension.Context, what: str = '', **facts: Any
    ) -> Iterator[None]:
        """Tell the conductor how a cast ends, also if the agent does not live to.

        :param what: ``'prepare'``, or the id of a backup; what else it ends for.
        :param facts: added to the notification.
        """
        values = dict(context.values)
        notification = values.get(conductors.NOTIFICATION)
        if notification is not None:
            notification = {**notification, **facts}
            values[conductors.NOTIFICATION] = notification
        kept = {key: values[key] for key in conductors.CONTEXT_KEYS if key in values}
        number = self.state.begin({'what': what, 'values': kept})
        try:
            yield
        except BaseException as error:
            if notification is not None:
                self._tell_error(kept, str(error), traceback.format_exception(error))
            self.state.end(number)
            raise
        if notification is not None:
            self.conductor.notify_end(kept, notification)
        self.state.end(number)

    def _tell_error(
        self, values: Mapping[str, Any], message: str, trace: list[str]
    ) -> None:
        notification = values[conductors.NOTIFICATION]
        self.conductor.notify_error(values, notification, message, trace)

    def _give_up(self, work: Mapping[str, Any]) -> None:
        """Tell how something has ended that an agent before this one had begun."""
        what, values = work['what'], work['values']
        LOG.error('%s: %s', what or 'a cast', CUT_SHORT)
        if what == 'prepare':
            # A server that serves already is not taken back for what lacks in it.
            if self.state.phase != states.READY:
                self.state.set(phase=states.FAILED)
        elif what:
            self.conductor.update_backup(what, state='FAILED', success=False)
        if values.get(conductors.NOTIFICATION) is not None:
            self._tell_error(values, CUT_SHORT, [f'{CUT_SHORT}\n'])

    def _status(self) -> str | None:
        """Return the instance's status in Trove's words; ``None``: not known here."""
        phase = self.state.phase
        if phase != states.READY:
            return {states.BUILDING: 'building', states.FAILED: 'failed to spawn'}.get(
                phase
            )
        try:
            found = self.call('datastore', 'status')['state']
        except errors.GuestAgentError as error:
            LOG.warning('the status of the server is not known: %s', error)
            return 'unknown'
        status = STATUSES.get(found, 'unknown')
        if status == 'healthy' and self.state.restart:
            return 'restart required'
        return status
