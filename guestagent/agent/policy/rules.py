# SPDX-License-Identifier: Apache-2.0
"""Rules, and the decision about a request; no I/O.

A request is allowed if one rule allows the caller, the command and each argument.  No
rule takes away what another one gives, so their order does not matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self, TypeAlias

from guestagent.agent.policy import patterns

#: What a rule calls oslo.messaging's ping, which has no namespace.
PING = 'ping'
#: What everybody may use: neither tells the caller anything.
ALWAYS = (PING, 'agent.report')
#: Begins a name of callers who have not proven it.
PLAIN = 'plain:'

#: How many answers to "which rules speak of this caller and this command?" are kept,
#: and how long a caller's name may be for that.
_KEPT, _NAME_LENGTH = 1024, 200
#: How many rules a refusal names.
_NAMED = 3


#: Returns the value of an argument that is not given.
Default: TypeAlias = Callable[[str], Any]


class Caller(NamedTuple):
    """Who asks.

    :ivar proven: whether the name is more than a claim.
    """

    name: str
    proven: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return who is meant by a name, or by ``plain:`` and a name or nothing."""
        name = text.removeprefix(PLAIN)
        return cls(name, bool(name) and name == text)

    def __str__(self) -> str:
        if not self.name:
            return 'a caller without a name'
        name = f'caller {self.name[:_NAME_LENGTH]!r}'
        return name if self.proven else f'{name} (a name that is not proven)'


def no_default(name: str) -> Any:
    """Return what an argument counts as whose default is not known."""
    return None


class Decision(NamedTuple):
    """Whether a request is allowed.

    :ivar rule: the name of the rule that allows it, or of those that nearly do.
    :ivar reason: a sentence; it names arguments and never holds their values.
    """

    allowed: bool
    rule: str
    reason: str


class Names:
    """A list of names with wildcards, of which ``!`` takes some away."""

    __slots__ = ('_in', '_out')

    def __init__(self, names: list[str]) -> None:
        self._in = [
            patterns.Starred(name) for name in names if not name.startswith('!')
        ]
        self._out = [
            patterns.Starred(name[1:]) for name in names if name.startswith('!')
        ]

    def holds(self, name: str) -> bool:
        """Whether ``name`` is among them."""
        return any(one.matches(name) for one in self._in) and not any(
            one.matches(name) for one in self._out
        )


class Callers:
    """Names of callers: those who have proven theirs, and others (``plain:``)."""

    __slots__ = ('_all', '_plain')

    def __init__(self, names: list[str]) -> None:
        every, plain = [], []
        for name in names:
            excludes = name.startswith('!')
            bare = name.removeprefix('!')
            short = ('!' if excludes else '') + bare.removeprefix(PLAIN)
            every.append(short)
            # What is taken away is taken from everybody.
            if excludes or bare.startswith(PLAIN):
                plain.append(short)
        self._all, self._plain = Names(every), Names(plain)

    def hold(self, caller: Caller) -> bool:
        """Whether this caller is among them."""
        return (self._all if caller.proven else self._plain).holds(caller.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """Who may use what.

    :ivar conditions: by the name of the argument; ``'*'``: those that have no other.
        Without any, all arguments are allowed.
    """

    name: str
    callers: Callers
    commands: Names
    conditions: Mapping[str, patterns.Condition]

    @property
    def has_paths(self) -> bool:
        """Whether it speaks of paths."""
        return any(one.is_path for one in self.conditions.values())

    def allows(self, args: Any, default: Default) -> bool:
        """Whether it allows these arguments.

        :param default: returns the value of an argument that is not given.
        """
        conditions = self.conditions
        if not conditions:
            return True
        if not isinstance(args, dict):
            return False
        others = conditions.get('*')
        for name, value in args.items():
            condition = conditions.get(name, others)
            if condition is None or not condition.holds(value):
                return False
        for name, condition in conditions.items():
            if name not in args and name != '*' and not condition.holds(default(name)):
                return False
        return True

    def objection(self, args: Any, default: Default) -> str:
        """Return what is wrong with arguments that it does not allow."""
        if not isinstance(args, dict):
            return 'the arguments are no object'
        others = self.conditions.get('*')
        for name, value in args.items():
            condition = self.conditions.get(name, others)
            if condition is None:
                return f'argument {name[:_NAME_LENGTH]!r} is not named in it'
            if not condition.holds(value):
                return f'this value of argument {name[:_NAME_LENGTH]!r} is not allowed'
        for name, condition in self.conditions.items():
            if name != '*' and name not in args and not condition.holds(default(name)):
                return f'argument {name!r} is missing'
        raise ValueError('it allows them')


class Policy:
    """All rules of a guest.

    :param expected: the commands that the image is meant to have; ``None``: any.
    :ivar source: where the rules are from.
    :ivar has_paths: whether any rule speaks of paths.
    """

    def __init__(
        self, source: str, rules: list[Rule], expected: Names | None = None
    ) -> None:
        self.source = source
        self.has_paths = any(rule.has_paths for rule in rules)
        self._rules = rules
        self._expected = expected
        self._speaking: dict[tuple[Caller, str], tuple[Rule, ...]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def expects(self, command: str) -> bool:
        """Whether the image is meant to have a command."""
        return (
            command in ALWAYS or self._expected is None or self._expected.holds(command)
        )

    def find(
        self, caller: Caller, command: str, args: Any, default: Default = no_default
    ) -> str | None:
        """Return the name of the rule that lets the caller do this, or ``None``.

        :param command: ``<extension>.<verb>``, or ``ping``.
        :param args: what the caller has sent as arguments, whatever it is.
        :param default: returns the value of an argument that is not given.
        """
        if command in ALWAYS:
            return 'always'
        for rule in self._find(caller, command):
            if rule.allows(args, default):
                return rule.name
        return None

    def decide(
        self, caller: Caller, command: str, args: Any, default: Default = no_default
    ) -> Decision:
        """Return what :meth:`find` finds, and why."""
        if command in ALWAYS:
            return Decision(True, 'always', 'everybody may use it')
        name = self.find(caller, command, args, default)
        if name is not None:
            return Decision(True, name, f'rule {name!r} lets {caller} use it')
        rules = self._find(caller, command)
        if not rules:
            if self.expects(command):
                return Decision(False, '', 'no rule allows it')
            reason = 'it is not among the commands in [expected]'
            return Decision(False, 'expected', reason)
        named = rules[:_NAMED]
        reasons = [
            f'rule {rule.name!r}: {rule.objection(args, default)}' for rule in named
        ]
        if len(rules) > _NAMED:
            reasons.append(f'and {len(rules) - _NAMED} more rules')
        return Decision(
            False, ', '.join(rule.name for rule in named), '; '.join(reasons)
        )

    def _find(self, caller: Caller, command: str) -> tuple[Rule, ...]:
        """Return the rules that speak of a caller and a command."""
        key = caller, command
        found = self._speaking.get(key)
        if found is None:
            found = ()
            if self.expects(command):
                found = tuple(
                    rule
                    for rule in self._rules
                    if rule.callers.hold(caller) and rule.commands.holds(command)
                )
            if len(self._speaking) >= _KEPT:
                self._speaking.clear()
            if len(caller.name) <= _NAME_LENGTH:
                self._speaking[key] = found
        return found
