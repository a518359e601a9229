# SPDX-License-Identifier: Apache-2.0
"""Find what is wrong in the configuration files; oslo.config looks at values when they
are used, and never at names that nobody has registered.

Every problem is one line with the file, the section and the option.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from oslo_config import cfg

from guestagent import errors
from guestagent.conf import config, foreign

DEFAULT = 'DEFAULT'


class Wrong(errors.ConfigError):
    """The configuration has these problems."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__('\n'.join(problems))
        self.problems = problems


class Findings(NamedTuple):
    """What stops the start, and what need not."""

    problems: list[str]
    warnings: list[str]


class _Setting(NamedTuple):
    """An option in a file; ``values`` has one for each time that it stands there."""

    file: str
    section: str
    name: str
    values: list[str]

    @property
    def key(self) -> tuple[str, str]:
        return _normal(self.section), self.name

    @property
    def place(self) -> str:
        return f'{self.file}: [{self.section}] {self.name}'


def values(conf: config.Config) -> list[str]:
    """Return what is wrong with the values of the options that are registered."""
    known = _known(conf)
    problems = []
    wrong = set()
    for setting in _settings(conf):
        option = known.get(setting.key)
        reason = _reason(option, setting.values) if option is not None else ''
        if reason:
            problems.append(f'{setting.place}: {reason}')
            wrong.add(option)
    for option, group, _ in conf.registered():
        if option in wrong:
            continue
        try:
            value = conf.value(option, group)
        except (cfg.Error, ValueError) as error:
            problems.append(f'{_elsewhere(option, group)}: {_short(option, error)}')
        else:
            if value is None and option.required:
                problems.append(f'[{group or DEFAULT}] {option.dest}: it must be set')
    return problems


def names(
    conf: config.Config,
    spare: Iterable[str] = (),
    others: Iterable[tuple[str | None, Iterable[Any]]] = (),
) -> Findings:
    """Return the names in the files that nobody has registered.

    :param spare: sections that may stand there though nobody reads them.
    :param others: (group, options) that are good and not registered.
    """
    known = _known(conf)
    for group, options in others:
        known.update(_names(options, group))
    sections = {section for section, _ in known}
    spare = set(map(_normal, spare))
    problems, warnings = [], []
    for setting in _settings(conf):
        if setting.key in known or setting.file in conf.foreign:
            continue
        # First: the options that each extension has are registered for these too.
        if setting.key[0] in spare:
            warnings.append(
                f'{setting.file}: [{setting.section}] is not read: no extension of '
                f'this name is loaded'
            )
        elif setting.key[0] in sections:
            problems.append(
                f'{setting.place}: there is no such option{_hint(setting, known)}'
            )
        else:
            problems.append(
                f'{setting.place}: there is no section [{setting.section}]'
                f'{_section_hint(setting, known)}'
            )
    return Findings(problems, list(dict.fromkeys([*conf.remarks, *warnings])))


def enforce(problems: Sequence[str]) -> None:
    """Let nothing start with these.

    :raises Wrong: there are some.
    """
    if problems:
        raise Wrong(problems)


def _settings(conf: config.Config) -> Iterator[_Setting]:
    """Read the files once more: oslo.config forgets which of them said what."""
    for setting in foreign.settings(conf.files()):
        yield _Setting(*setting)


def _known(conf: config.Config) -> dict[tuple[str, str], Any]:
    """Return the registered options by (section, name), their old names too."""
    known: dict[tuple[str, str], Any] = {}
    for option, group, _ in conf.registered():
        known.update(_names([option], group))
    return known


def _names(options: Iterable[Any], group: str | None) -> dict[tuple[str, str], Any]:
    section = _normal(group or DEFAULT)
    found = {}
    for option in options:
        found[section, option.dest] = option
        for old in option.deprecated_opts:
            where = _normal(old.group) if old.group else section
            found[where, old.name or option.dest] = option
    return found


def _normal(section: str) -> str:
    """Return a section's name as oslo.config compares it."""
    return section if section == DEFAULT else section.lower()


def _reason(option: Any, given: list[str]) -> str:
    """Return what is wrong with a value in a file, or ``''``."""
    for value in given if option.multi else given[-1:]:
        if '$' in value:
            continue  # another option's value: looked at where it counts
        try:
            option.type(value)
        except ValueError as error:
            return _short(option, error)
    return ''


def _short(option: Any, error: Exception) -> str:
    """Return why a value is wrong, without what oslo.config says around it."""
    if option.secret:
        return 'the value makes no sense'
    text = ' '.join(str(error).split())
    return text.partition(' is not valid: ')[2] or text


def _elsewhere(option: Any, group: str | None) -> str:
    """Name a value that stands in no file."""
    variable = f'OS_{group or DEFAULT}__{option.dest}'.upper()
    if variable in os.environ:
        return f'environment variable {variable}'
    return f'[{group or DEFAULT}] {option.dest}'


def _hint(setting: _Setting, known: Mapping[tuple[str, str], Any]) -> str:
    """Return a question that may help, or ``''``."""
    section, name = setting.key
    for there, other in known:
        if other == name.replace('-', '_'):
            return f'; did you mean [{there}] {other}?'
    close = _close(name, [other for there, other in known if there == section])
    return f'; did you mean {close}?' if close else ''


def _section_hint(setting: _Setting, known: Mapping[tuple[str, str], Any]) -> str:
    section, name = setting.key
    close = _close(section, list(dict.fromkeys(there for there, _ in known)))
    if close:
        return f'; did you mean [{close}]?'
    for there, other in known:
        if other == name:
            return f'; did you mean [{there}] {other}?'
    return ''


def _close(name: str, candidates: list[str]) -> str:
    import difflib  # only those who err need it

    return next(iter(difflib.get_close_matches(name, candidates, 1)), '')
