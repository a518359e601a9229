# SPDX-License-Identifier: Apache-2.0
"""Make a policy of the text of its file (doc/policy.rst); no I/O.

The file looks like the agent's other ones.  It has a parser of its own, because a
mistake must be told with its line and nothing may be guessed; it costs the agent less
memory than any library for another format.
"""

from __future__ import annotations

import dataclasses
import re

from guestagent import errors
from guestagent.agent.policy import patterns, rules

_COMMAND = re.compile(r'\*|ping|[A-Za-z0-9_.*-]+\.[A-Za-z0-9_*]+')
_ARGUMENT = re.compile(r'\*|[A-Za-z_][A-Za-z0-9_]*')
_RULE = re.compile(r'rule\s+(\S.*)')


@dataclasses.dataclass
class _Section:
    """What stands in one section: keys with (line, value) of each time."""

    name: str
    line: int
    values: dict[str, list[tuple[int, str]]] = dataclasses.field(default_factory=dict)


class _Reader:
    """Reads one file."""

    def __init__(self, source: str) -> None:
        self._source = source

    def read(self, text: str) -> rules.Policy:
        expected = None
        made: dict[str, rules.Rule] = {}
        for section in self._sections(text):
            if section.name == 'expected':
                if expected is not None:
                    raise self._wrong(section, section.line, '', 'it is there twice')
                expected = self._expected(section)
                continue
            match = _RULE.fullmatch(section.name)
            if match is None:
                raise self._wrong(
                    section, section.line, '', 'a section is [rule NAME] or [expected]'
                )
            name = match[1]
            if name in made:
                raise self._wrong(section, section.line, '', 'it is there twice')
            made[name] = self._rule(section, name)
        return rules.Policy(self._source, list(made.values()), expected)

    def _sections(self, text: str) -> list[_Section]:
        found: list[_Section] = []
        # Not where Python sees other ends of lines, as U+2028: no editor shows them.
        for number, line in enumerate(text.split('\n'), 1):
            line = line.strip()
            if not line or line[0] in '#;':
                continue
            if line.startswith('['):
                if not line.endswith(']'):
                    raise self._mistake(number, f'{line!r}: the ] is missing')
                found.append(_Section(' '.join(line[1:-1].split()), number))
                continue
            key, equals, value = line.partition('=')
            key, value = key.strip(), value.strip()
            if not equals or not key:
                raise self._mistake(number, f'{line!r} is not KEY = VALUE')
            if not found:
                raise self._mistake(
                    number, f'{key}: it stands in no section; begin with [rule NAME]'
                )
            found[-1].values.setdefault(key, []).append((number, value))
        return found

    def _expected(self, section: _Section) -> rules.Names:
        for key, values in section.values.items():
            if key != 'commands':
                raise self._wrong(
                    section,
                    values[0][0],
                    key,
                    'there is no such key; there is commands',
                )
        return rules.Names(self._commands(section))

    def _rule(self, section: _Section, name: str) -> rules.Rule:
        conditions = {}
        for key, values in section.values.items():
            if key in ('callers', 'commands'):
                continue
            argument = key.removeprefix('arg.')
            if argument == key or not _ARGUMENT.fullmatch(argument):
                raise self._wrong(
                    section,
                    values[0][0],
                    key,
                    'there is no such key; there are callers, commands and arg.NAME',
                )
            conditions[argument] = self._condition(section, key, values)
        callers = rules.Callers(self._callers(section))
        commands = rules.Names(self._commands(section))
        return rules.Rule(name, callers, commands, conditions)

    def _callers(self, section: _Section) -> list[str]:
        names = self._names(section, 'callers')
        for line, name in names:
            bare = name.removeprefix('!').removeprefix(rules.PLAIN)
            if '!' in bare or (not bare and rules.PLAIN not in name):
                raise self._wrong(
                    section, line, 'callers', f'{name!r} is no name of callers'
                )
        return [name for _, name in names]

    def _commands(self, section: _Section) -> list[str]:
        names = self._names(section, 'commands')
        for line, name in names:
            if not _COMMAND.fullmatch(name.removeprefix('!')):
                raise self._wrong(
                    section,
                    line,
                    'commands',
                    f'{name!r} is no command; write EXTENSION.VERB, as exec.run or '
                    f'exec.*',
                )
        return [name for _, name in names]

    def _names(self, section: _Section, key: str) -> list[tuple[int, str]]:
        """Return the names in a list, of which at least one takes nothing away."""
        given = section.values.get(key)
        if given is None:
            raise self._wrong(section, section.line, key, 'it must be there')
        found = []
        for line, value in given:
            for name in value.split(','):
                if not name.strip():
                    raise self._wrong(section, line, key, 'a name is empty')
                found.append((line, name.strip()))
        if all(name.startswith('!') for _, name in found):
            raise self._wrong(
                section, given[0][0], key, 'it only takes away; say what is meant, as *'
            )
        return found

    def _condition(
        self, section: _Section, key: str, values: list[tuple[int, str]]
    ) -> patterns.Condition:
        allowed: list[patterns.Pattern] = []
        excluded: list[patterns.Pattern] = []
        for line, value in values:
            excludes = value.startswith('!')
            try:
                made = patterns.Pattern(value.removeprefix('!').strip(), excludes)
            except ValueError as error:
                raise self._wrong(section, line, key, str(error)) from None
            (excluded if excludes else allowed).append(made)
        if not allowed:
            raise self._wrong(
                section,
                values[0][0],
                key,
                'it only takes away; say what is meant, as **',
            )
        return patterns.Condition(allowed, excluded)

    def _wrong(
        self, section: _Section, line: int, key: str, reason: str
    ) -> errors.ConfigError:
        where = f'[{section.name}] {key}'.strip()
        return self._mistake(line, f'{where}: {reason}')

    def _mistake(self, line: int, reason: str) -> errors.ConfigError:
        return errors.ConfigError(f'{self._source}, line {line}: {reason}')


def parse(text: str, source: str) -> rules.Policy:
    """Return the policy that a file says.

    :param source: the file's name, for messages.
    :raises guestagent.errors.ConfigError: there is a mistake in it; with the line.
    """
    return _Reader(source).read(text)
