# SPDX-License-Identifier: Apache-2.0
"""Translate the host's commands into those of extensions; rules without I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from guestagent import errors

#: The longest delay of a shutdown, in seconds.
DELAY_MAX = 30 * 86400
#: What a lifecycle-event may be about; each has a folder of hooks of its name.
EVENTS = (
    'before_migration',
    'after_migration',
    'before_hibernation',
    'after_hibernation',
)
_SUSPEND = {'disk': 'disk', 'mem': 'ram'}


class Order(NamedTuple):
    """A command of an extension, with its arguments."""

    namespace: str
    method: str
    args: Mapping[str, Any]


def translate(name: str, fields: Mapping[str, Any]) -> Order | None:
    """Return what a command of the host means here; ``None``: it is not known.

    :raises guestagent.errors.InvalidArgument: it is malformed, and so is not done.
    """
    make = _ORDERS.get(name)
    return None if make is None else make(fields)


def event(fields: Mapping[str, Any]) -> str:
    """Return what a ``lifecycle-event`` is about.

    :raises guestagent.errors.InvalidArgument: nobody knows.
    """
    kind = fields.get('type')
    if kind not in EVENTS:
        raise errors.InvalidArgument(
            f'lifecycle-event: type is {kind!r}, not one of {", ".join(EVENTS)}'
        )
    return str(kind)


def _lock(fields: Mapping[str, Any]) -> Order:
    return Order('sso', 'lock', {'all': True})


def _log_off(fields: Mapping[str, Any]) -> Order:
    return Order('sso', 'log_off', {})


def _login(fields: Mapping[str, Any]) -> Order:
    user, password = fields.get('username'), fields.get('password')
    if not isinstance(user, str) or not isinstance(password, str) or not user:
        # Never what was given: it may be a password.
        raise errors.InvalidArgument('login: username and password must be text')
    return Order('sso', 'login', {'user': user, 'password': password})


def _shutdown(fields: Mapping[str, Any]) -> Order:
    delay, text = fields.get('timeout'), fields.get('message', '')
    # A number may come as text.  What is missing or wrong counted as 0 once.
    try:
        seconds = math.nan if isinstance(delay, bool) else float(delay)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds <= DELAY_MAX:
        raise errors.InvalidArgument(
            f'shutdown: timeout is {delay!r}, not a number of seconds from 0 to '
            f'{DELAY_MAX}'
        )
    reboot = str(fields.get('reboot', False)).lower()
    if reboot not in ('true', 'false'):
        raise errors.InvalidArgument(
            f'shutdown: reboot is {fields["reboot"]!r}, not True or False'
        )
    if not isinstance(text, str):
        raise errors.InvalidArgument(f'shutdown: message is {text!r}, not text')
    mode = 'reboot' if reboot == 'true' else 'poweroff'
    args = {'mode': mode, 'delay': math.ceil(seconds), 'message': text}
    return Order('power', 'shutdown', args)


def _hibernate(fields: Mapping[str, Any]) -> Order:
    state = fields.get('state', 'disk')
    if state not in _SUSPEND:
        raise errors.InvalidArgument(f'hibernate: state is {state!r}, not disk or mem')
    return Order('power', 'suspend', {'kind': _SUSPEND[state]})


_ORDERS: Mapping[str, Callable[[Mapping[str, Any]], Order]] = {
    'lock-screen': _lock,
    'log-off': _log_off,
    'login': _login,
    'shutdown': _shutdown,
    'hibernate': _hibernate,
}
