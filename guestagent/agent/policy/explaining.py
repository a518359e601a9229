# SPDX-License-Identifier: Apache-2.0
"""``guestagent --explain``: what the policy says of a request, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from guestagent import errors, extension
from guestagent.agent import core, registry
from guestagent.agent.policy import files, judge, rules


def explain(conf: Any, words: Sequence[str]) -> rules.Decision:
    """Return the decision about ``CALLER COMMAND [JSON]``.

    Links are followed, and defaults are those of the extension, as in the agent.

    :raises guestagent.errors.ConfigError: the words or the policy make no sense, or
        this agent has no such command.
    """
    if not 2 <= len(words) <= 3:
        raise errors.ConfigError('--explain takes CALLER COMMAND, and JSON if need be')
    name, command = words[:2]
    args = _object(words[2]) if len(words) == 3 else {}
    if not conf.policy.file:
        return rules.Decision(True, '', 'no [policy] file is set: everything is')
    found = files.load(conf.policy.file)
    default = _defaults(conf, command)
    caller = rules.Caller.parse(name)
    decision = found.decide(caller, command, args, default)
    if decision.allowed and found.has_paths:
        resolved = judge.resolved(args)
        if resolved != args:
            after = found.decide(caller, command, resolved, default)
            if not after.allowed:
                return after._replace(reason=after.reason + judge.LINKS)
    return decision


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise errors.ConfigError(f'--explain: the arguments: {error}') from None
    if not isinstance(value, dict):
        raise errors.ConfigError('--explain: the arguments must be a JSON object')
    return value


def _defaults(conf: Any, command: str) -> Any:
    """Return what tells the default of an argument of a command."""
    if command == rules.PING:
        return rules.no_default
    known = registry.Registry(conf, extension.Host())
    known.load(conf.enabled_extensions, False)
    namespace, _, verb = command.rpartition('.')
    if namespace == 'agent':
        found = core.find(verb)
    else:
        loaded = known.find(namespace)
        found = loaded.commands.get(verb) if loaded else None
    if found is None:
        names = ', '.join(known.command_names()) or 'none'
        raise errors.ConfigError(
            f'--explain: this agent has no command {command!r}; its extensions have: '
            f'{names}'
        )
    return judge.defaults(found)
