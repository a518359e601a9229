# SPDX-License-Identifier: Apache-2.0
"""Wait for the outcome of a command, by asking the conductor and the guest in turn.

The conductor has the outcomes of casts.  That of a call went to its caller, so the
guest is asked as well: it knows whether a command is still there.
"""

import shlex
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guestagent import errors
from guestagent.ctl import base, progress

if TYPE_CHECKING:
    from guestagent import client

#: Seconds between two questions, and for an answer to one.
_INTERVAL = 1.0
_ANSWER = 5.0
#: How long a report may be on its way, in seconds, when the guest has no more to say.
_ON_ITS_WAY = 10.0
#: The same while the conductor is silent.  After a restart of the broker its library
#: drops for a minute what it has to say to a queue that was not there again in time.
_SILENT_CONDUCTOR = 75.0

_AT_WORK = ('waiting', 'running')

#: What is known of a command, and how that is told.
_SILENT, _UNKNOWN = 'silent', 'unknown'
_TEXTS = {
    _SILENT: 'is not known to have ended, and the guest does not answer',
    _UNKNOWN: 'is not known to the guest',
    'waiting': 'waits for a worker',
    'running': 'is running',
}


def outcome(
    guests: 'client.Client',
    instance: str,
    command_id: str,
    caller: str,
    timeout: float | None,
    say: Callable[[str], None],
    insist: bool = False,
) -> dict[str, Any]:
    """Return the outcome of a command: its record, or what the guest remembers of it.

    :param timeout: seconds; ``None``: as long as it takes.
    :param say: is told what is known meanwhile, as the end of a sentence; with a bar
        where the command reports how far it is.
    :param insist: take nothing but the conductor's record.
    :raises guestagent.errors.NoSuchRecord: neither of the two knows the command.
    :raises guestagent.errors.Transient: neither of the two has ever answered.
    :raises guestagent.client.NoAnswer: the time is over.
    """
    began = time.monotonic()
    conductor = guests.conductor.within(_ANSWER)
    heard = False
    # Since when it is not at work, though there is no record of its end.
    ended: float | None = None
    while True:
        try:
            return conductor.command_show(instance, command_id, caller)
        except (errors.NoSuchRecord, errors.NoSuchInstance, errors.Transient) as error:
            missing = error
        known = _ask_guest(guests, instance, command_id, caller)
        state = known['state']
        heard = heard or state != _SILENT or not isinstance(missing, errors.Transient)
        if not heard:
            raise missing
        say(_describe(known))
        now = time.monotonic()
        if state in (_SILENT, *_AT_WORK):
            ended = None
        elif ended is None:
            ended = now
        elif not insist and now - ended > _patience(missing):
            if state == _UNKNOWN:
                raise missing
            return {'instance': instance, **known, 'outcome': state}
        if timeout is not None and now - began > timeout:
            raise _late(command_id, timeout, _describe(known))
        time.sleep(_INTERVAL)


def show(
    command: base.Command,
    instance: str,
    command_id: str,
    caller: str,
    timeout: float | None,
    insist: bool = False,
) -> dict[str, Any]:
    """Return what :func:`outcome` does; a person sees meanwhile how it stands.

    Who interrupts the wait is told how to go on with it.
    """
    who = f'{command_id} of {instance}'
    try:
        with command.waiting(f'waiting for {who}') as sign:
            return outcome(
                command.client,
                instance,
                command_id,
                caller,
                timeout,
                lambda state: sign.say(f'guestctl: {who} {state}'),
                insist,
            )
    except KeyboardInterrupt:
        again = ['guestctl', 'command', 'watch', instance, command_id]
        if caller != command.client.caller:
            again += ['--of', caller]
        command.app.LOG.error(
            'the command was not cancelled; to go on waiting: %s', shlex.join(again)
        )
        raise


def _ask_guest(
    guests: 'client.Client', instance: str, command_id: str, caller: str
) -> dict[str, Any]:
    """Return what ``agent.status`` does, or ``{'state': ...}`` when it does not."""
    try:
        known: dict[str, Any] = guests.call(
            instance,
            'agent.status',
            {'command_id': command_id, 'caller': caller},
            timeout=_ANSWER,
        )
    except errors.NoSuchRecord:
        return {'state': _UNKNOWN}
    except (errors.Transient, errors.NoSuchInstance):
        # After a restart of the broker the guest has no queue until it is back.
        return {'state': _SILENT}
    return known


def _patience(missing: errors.GuestAgentError) -> float:
    silent = isinstance(missing, errors.Transient)
    return _SILENT_CONDUCTOR if silent else _ON_ITS_WAY


def _describe(known: Mapping[str, Any]) -> str:
    """Return what is known as the end of a sentence, which no guest can abuse."""
    state = known['state']
    text = _TEXTS.get(state, f'has ended: {state}')
    percent, about = known.get('percent'), known.get('text')
    if isinstance(percent, int | float):
        text += f' {progress.bar(percent)}'
    return f'{text} {base.printable(str(about))}' if about else text


def _late(command_id: str, timeout: float, known: str) -> errors.Transient:
    # By now it is loaded anyway.
    from guestagent import client

    return client.NoAnswer(
        f'no outcome of command {command_id} within {timeout:g} s: it {known}'
    )
