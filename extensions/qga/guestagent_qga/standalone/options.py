# SPDX-License-Identifier: Apache-2.0
"""The command line and the configuration file of qemu-ga.

A file of GLib's key files, group ``[general]``, is read first; the command line goes
over it, but lists add up.  Four options are this project's own: they end the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from guestagent_qga import schema
from guestagent_qga.transports import opening

CONFIG_FILE = '/etc/qemu/qemu-ga.conf'
HOOK = '/etc/qemu/fsfreeze-hook'
VERSION = '10.2.2'

TEXT, SWITCH, LIST, OPTIONAL, ACTION = 'text', 'switch', 'list', 'optional', 'action'


class Option(NamedTuple):
    """An option; ``letter`` is ``''`` where the command line has no short form.

    :ivar kind: what follows it.
    :ivar default: as it stands in the file; ``None``: it does not.
    """

    name: str
    letter: str
    kind: str
    default: str | None
    help: str


OPTIONS = (
    Option('config', 'c', ACTION, None, f'the configuration file ({CONFIG_FILE})'),
    Option('daemon', 'd', SWITCH, 'false', 'become a daemon'),
    Option(
        'method', 'm', TEXT, 'virtio-serial', f'one of {", ".join(opening.METHODS)}'
    ),
    Option('path', 'p', TEXT, None, 'of the device or socket, or <cid>:<port>'),
    Option('logfile', 'l', TEXT, None, 'log to this file, not to standard error'),
    Option(
        'pidfile', 'f', TEXT, '/var/run/qemu-ga.pid', 'where a daemon notes its number'
    ),
    Option(
        'fsfreeze-hook',
        'F',
        OPTIONAL,
        None,
        f'run this before and after a freeze ({HOOK}); no space before the path',
    ),
    Option('statedir', 't', TEXT, '/var/run', 'the folder of what must be kept'),
    Option('verbose', 'v', SWITCH, 'false', 'log more'),
    Option(
        'retry-path', 'r', SWITCH, 'false', 'open the device again when that may help'
    ),
    Option('block-rpcs', 'b', LIST, '', 'commands to refuse, with commas; help: all'),
    Option('allow-rpcs', 'a', LIST, '', 'the only commands to allow; help: all'),
    Option('answer-limit', '', TEXT, None, 'the most bytes of a read or an output'),
    Option('fsfreeze-only', '', LIST, None, 'the only mount points to freeze'),
    Option('freeze-limit', '', TEXT, None, 'seconds after which a freeze ends'),
    Option('qga-version', '', TEXT, None, f'the version to pretend ({VERSION})'),
    Option('dump-conf', 'D', ACTION, None, 'print the configuration and exit'),
    Option('version', 'V', ACTION, None, 'print the version and exit'),
    Option('help', 'h', ACTION, None, 'print this and exit'),
)

#: What options are called, too.
_FORMER = {'blacklist': 'block-rpcs', 'daemonize': 'daemon'}
_NAMES = {option.name: option for option in OPTIONS} | {
    former: option
    for former, name in _FORMER.items()
    for option in OPTIONS
    if option.name == name
}
_LETTERS = {option.letter: option for option in OPTIONS if option.letter}


class UsageError(Exception):
    """The command line or the file makes no sense."""


class Options:
    """What was chosen.

    :ivar values: the text of each option that has a value.
    :ivar actions: what to do but serve: of ``dump-conf``, ``version``, ``help``.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.actions: list[str] = []
        self.config = ''

    def text(self, name: str) -> str:
        """Return a value; ``''``: there is none."""
        if name == 'path' and not self.values.get('path'):
            return opening.METHODS.get(self.text('method'), '')
        return self.values.get(name, _NAMES[name].default or '')

    def switch(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.text(name) in ('true', '1')

    def words(self, name: str) -> list[str]:
        """Return the items of a list."""
        return [word for word in self.text(name).split(',') if word]

    def number(self, name: str) -> float:
        """Return a number from 0; 0: there is none.

        :raises UsageError: it is none.
        """
        text = self.text(name) or '0'
        try:
            value = float(text)
        except ValueError:
            value = -1
        if not 0 <= value < float('inf'):
            raise UsageError(f"{name}: '{text}' is not a number from 0")
        return value

    def add(self, option: Option, value: str) -> None:
        """Take a value; lists add up."""
        if option.kind == LIST and self.values.get(option.name):
            value = f'{self.values[option.name]},{value}'
        self.values[option.name] = value

    def dump(self) -> str:
        """Return a file that says the same."""
        lines = ['[general]']
        for option in OPTIONS:
            value = self.text(option.name)
            if option.kind == ACTION or (not value and option.default is None):
                continue
            if option.kind == SWITCH:
                value = 'true' if self.switch(option.name) else 'false'
            lines.append(f'{option.name}={value}')
        return '\n'.join(lines) + '\n'


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return what the configuration file and the command line say together.

    :raises UsageError: they make no sense.
    :raises OSError: the file that was named cannot be read.
    """
    said = parse(argv)
    options = Options()
    named = said.config or environ.get('QGA_CONF', '')
    try:
        with open(named or CONFIG_FILE, encoding='utf-8', errors='replace') as file:
            read(file.read(), options)
    except FileNotFoundError:
        if said.config:
            raise
    for name, value in said.values.items():
        options.add(_NAMES[name], value)
    options.actions = said.actions
    return options


def read(text: str, options: Options) -> None:
    """Take the values of a key file; groups and keys that nobody knows do not count.

    :raises UsageError: it is no key file.
    """
    group = ''
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith('#'):
            continue
        if line.startswith('[') and line.endswith(']'):
            group = line[1:-1]
            continue
        name, equals, value = line.partition('=')
        if not equals:
            raise UsageError(f'line {number} of the configuration file has no "="')
        option = _NAMES.get(name.strip())
        if group == 'general' and option is not None and option.kind != ACTION:
            options.add(option, value.strip())


def parse(argv: Sequence[str]) -> Options:
    """Return what a command line says, as getopt_long(3) reads it.

    :raises UsageError: that does not.
    """
    options = Options()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == '--':
            break
        if word.startswith('--'):
            name, equals, value = word[2:].partition('=')
            option = _long(name)
            _take(option, f'--{name}', value if equals else None, words, options)
        elif word.startswith('-') and word != '-':
            _take_letters(word[1:], words, options)
    return options


def _take_letters(letters: str, words: list[str], options: Options) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        option = _LETTERS.get(letter)
        if option is None:
            raise UsageError(f"invalid option -- '{letter}'")
        if not _has_value(option):
            _take(option, letter, None, words, options)
            continue
        _take(option, letter, letters or None, words, options)
        return


def _long(name: str) -> Option:
    """Return an option by its name, or by as much of it as is its alone."""
    if name in _NAMES:
        return _NAMES[name]
    found = {option for known, option in _NAMES.items() if known.startswith(name)}
    if len(found) != 1:
        problem = 'unrecognized' if not found else 'ambiguous'
        raise UsageError(f"{problem} option '--{name}'")
    return found.pop()


def _has_value(option: Option) -> bool:
    return option.kind in (TEXT, LIST, OPTIONAL) or option.name == 'config'


def _take(
    option: Option, name: str, value: str | None, words: list[str], options: Options
) -> None:
    if not _has_value(option):
        if value is not None:
            raise UsageError(f"option '{name}' doesn't allow an argument")
        if option.kind == ACTION:
            options.actions.append(option.name)
        else:
            options.add(option, 'true')
        return
    if value is None and option.kind == OPTIONAL:
        value = HOOK
    if value is None:
        if not words:
            form = f"option '{name}' requires an argument"
            if not name.startswith('-'):
                form = f"option requires an argument -- '{name}'"
            raise UsageError(form)
        value = words.pop(0)
    if option.name == 'config':
        options.config = value
    elif option.kind == LIST and value == 'help':
        options.actions.append('commands')
    else:
        options.add(option, value)


def usage() -> str:
    """Return what ``--help`` prints."""
    lines = [
        'Usage: qemu-ga [-m <method> -p <path>] [<options>]',
        'guestagent-qga: answers the commands of the QEMU guest agent',
        '',
    ]
    for option in OPTIONS:
        letter = f'-{option.letter}, ' if option.letter else '    '
        lines.append(f'  {letter}--{option.name:<15} {option.help}')
    return '\n'.join(lines) + '\n'


def commands() -> str:
    """Return the names of all commands, one a line."""
    return ''.join(f'{name}\n' for name, each in schema.COMMANDS.items() if each.topic)
