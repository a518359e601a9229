# SPDX-License-Identifier: Apache-2.0
"""What is said to a host that speaks the protocol of ovirt-guest-agent, and when.

No I/O: bytes come in by :meth:`Conversation.take` and leave by ``send``; what the guest
is and does is asked for by ``ask``, whose answers come back on the same thread.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from guestagent import errors, hookfolder, logs
from guestagent_ovirt import commands, facts, lines, negotiation

LOG = logging.getLogger(__name__)

#: Takes an extension, a command, its arguments, and what takes the result or the error.
Ask = Callable[
    [str, str, Mapping[str, Any], Callable[[Any, BaseException | None], None]], None
]
#: Takes seconds, and what to call then.
Later = Callable[[float, Callable[[], None]], 'Timer']

#: What goes with ``refresh``, and what is sent on the original's periods.
ON_REFRESH = (
    'active-user',
    'applications',
    'containers',
    'host-name',
    'os-version',
    'network-interfaces',
    'disks-usage',
    'fqdn',
    'timezone',
    'os-info',
)
#: What is said only when it is another thing, or when the host asks.
NEWS = ('active-user', 'applications')
#: What becomes of sessions; the original told of it on Windows only.
SESSION_EVENTS = ('logon', 'logoff', 'lock', 'unlock')
ON_START = tuple(name for name in ON_REFRESH if name != 'disks-usage')
PERIODS = {
    'report_user_rate': ('active-user',),
    'report_num_cpu_rate': ('number-of-cpus',),
    'report_application_rate': (
        'host-name',
        'os-version',
        'network-interfaces',
        'applications',
        'fqdn',
        'containers',
    ),
    'report_disk_usage': ('disks-usage',),
}


class Timer(Protocol):
    """What :data:`Later` returns."""

    def cancel(self) -> None:
        """Call nobody."""


class Conversation:
    """One agent's side, from its start to its stop; on one thread.

    :param options: the section ``[ovirt]``.
    :param send: takes a line; it must not wait.
    :param list_hooks: returns the programs of an event, in their order, and what is
        not run.
    """

    def __init__(
        self,
        options: facts.Options,
        send: Callable[[bytes], None],
        ask: Ask,
        later: Later,
        list_hooks: Callable[[str], hookfolder.Found],
    ) -> None:
        self._options = options
        self._send = send
        self._ask = ask
        self._later = later
        self._list_hooks = list_hooks
        self._lines = lines.Lines()
        self._agreement = negotiation.Negotiation()
        self._rates = facts.Rates()
        self._told: dict[str, Mapping[str, Any]] = {}
        self._timers: dict[str, Timer] = {}
        self._log_limit = logs.RateLimit()

    def begin(self) -> None:
        """Say hello, and go on from there."""
        self._tell(lines.Message('session-startup'))
        self._report(ON_START)
        self._repeat('heart_beat_rate', self._beat)
        for option, names in PERIODS.items():
            self._repeat(option, functools.partial(self._report, names))

    def end(self) -> None:
        """Say goodbye."""
        for timer in self._timers.values():
            timer.cancel()
        self._tell(lines.Message('session-shutdown'))

    def take(self, data: bytes) -> None:
        """Take what the host wrote."""
        for found in self._lines.feed(data):
            if isinstance(found, lines.Broken):
                self._complain('broken', 'from the host: %s', found)
            else:
                self._obey(found)

    def note_session(self, event: str) -> None:
        """Tell that somebody came, went, locked or unlocked the screen; at once."""
        if event in SESSION_EVENTS:
            self._tell(lines.Message(f'session-{event}'))
            if event in ('logon', 'logoff'):
                self._report(('active-user',))

    def cut(self) -> None:
        """Hear that the host has gone: half a line of it will not be ended."""
        self._lines.reset()

    def _repeat(self, option: str, call: Callable[[], None]) -> None:
        """Call every so many seconds, as the option says; 0: never."""
        seconds = float(getattr(self._options, option))

        def again() -> None:
            self._repeat(option, call)
            call()

        if seconds > 0:
            self._timers[option] = self._later(seconds, again)

    def _beat(self) -> None:
        def then(seen: Mapping[str, Any]) -> None:
            rates = self._rates.since(seen.get('memory_counters'), time.monotonic())
            version = self._agreement.offer()
            self._tell(facts.heartbeat(seen, rates, version))

        self._look(('memory_details', 'memory_counters'), then)

    def _report(self, names: Iterable[str], forced: bool = False) -> None:
        """Send messages made of facts, as far as the host understands them."""
        allowed = [name for name in names if self._agreement.allows(name)]
        needed = {fact for name in allowed for fact in facts.MESSAGES[name].needs}

        def then(seen: Mapping[str, Any]) -> None:
            for name in allowed:
                try:
                    message = facts.MESSAGES[name].make(seen, self._options)
                except LookupError as error:
                    self._complain(name, '%s: the guest does not know %s', name, error)
                else:
                    self._tell_news(message, forced)

        self._look(sorted(needed), then)

    def _tell_news(self, message: lines.Message, forced: bool) -> None:
        """Send a message; one of :data:`NEWS` if it says another thing, or if asked."""
        if message.name in NEWS:
            before = self._told.get(message.name)
            self._told[message.name] = message.fields
            if before == message.fields and not forced:
                return
        self._tell(message)

    def _look(
        self, names: Sequence[str], then: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Ask for facts; what fails is no reason to say nothing later."""

        def take(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._complain('facts', 'the facts cannot be told: %s', error)
            else:
                then(result['facts'])

        if names:
            self._ask('monitoring', 'facts', {'names': list(names)}, take)

    def _tell(self, message: lines.Message) -> None:
        if not self._agreement.allows(message.name):
            return
        try:
            self._send(lines.encode(message))
        except lines.TooLong as error:
            self._complain(message.name, 'not sent: %s', error)

    def _obey(self, message: lines.Message) -> None:
        """Do what the host says, or say in the log why not."""
        name, fields = message.name, message.fields
        own = self._own().get(name)
        try:
            if own is not None:
                own(fields)
                return
            order = commands.translate(name, fields)
        except errors.InvalidArgument as error:
            self._complain(name, 'the host asks in vain: %s', error)
            return
        if order is None:
            self._complain('unknown', 'the host sent %r, which nobody knows', name[:80])
        else:
            self._ask(
                order.namespace,
                order.method,
                order.args,
                lambda _, error: self._note(name, error),
            )

    def _own(self) -> Mapping[str, Callable[[Mapping[str, Any]], None]]:
        """Return the commands that no extension has a part in."""
        return {
            'refresh': self._refresh,
            'api-version': self._agree,
            'echo': lambda fields: self._tell(lines.Message('echo', fields)),
            'set-number-of-cpus': lambda _: self._report(('number-of-cpus',)),
            'lifecycle-event': self._run_hooks,
        }

    def _note(self, name: str, error: BaseException | None) -> None:
        if error is None:
            LOG.info('done for the host: %s', name)
        else:
            LOG.error('%s, which the host wants, failed: %s', name, error)

    def _refresh(self, fields: Mapping[str, Any]) -> None:
        if 'apiVersion' not in fields:
            self._agreement.hear(0)
        self._tell(lines.Message('session-startup'))
        self._report(ON_REFRESH, forced=True)

    def _agree(self, fields: Mapping[str, Any]) -> None:
        if self._agreement.hear(fields.get('apiVersion')):
            self._refresh({'apiVersion': self._agreement.agreed})

    def _run_hooks(self, fields: Mapping[str, Any]) -> None:
        """Run the programs of an event, one after the other; then say how it went."""
        kind, reply = commands.event(fields), fields.get('reply_id')
        found = self._list_hooks(kind)
        waiting, failed = list(found.programs), list(found.refused)
        for refusal in failed:
            self._complain(refusal, '%s', refusal)

        def go_on(result: Any = None, error: BaseException | None = None) -> None:
            if error is not None or (result and result['exit_code'] != 0):
                failed.append(running[-1])
                LOG.error('hook %s failed: %s', running[-1], error or _why(result))
            if waiting:
                running.append(waiting.pop(0))
                timeout = self._options.hook_timeout
                args = {'argv': [running[-1]], 'timeout': timeout}
                self._ask('exec', 'run', args, go_on)
            elif reply is not None:
                answer = {'reply_id': reply, 'done': not failed}
                self._tell(lines.Message('completion', answer))

        running: list[str] = []
        go_on()

    def _complain(self, key: str, text: str, *args: object) -> None:
        held = self._log_limit.allow(key)
        if held is not None:
            LOG.warning(text + ' (%d more since the last line like this)', *args, held)


def _why(result: Mapping[str, Any]) -> str:
    if result['timed_out']:
        return 'it took too long and was killed'
    last = str(result['stderr']).strip().splitlines()[-1:]
    return ': '.join([f'exit code {result["exit_code"]}', *last])
