# SPDX-License-Identifier: Apache-2.0
"""What an administrator wants to be told: statistics, defined in files of a folder.

A file ``*.conf`` has a section for each, by its key::

    [mail.queue]
    command = /usr/local/bin/mail-queue --count
    type = integer
    unit = messages
    period = 60

No I/O but the reading of the folder.
"""

from __future__ import annotations

import configparser
import json
import math
import os
import re
import shlex
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: How many there may be, and how long a text may be that one tells.
COUNT_MAX = 100
TEXT_MAX = 4096
PERIOD, TIMEOUT, TIMEOUT_MAX = 60.0, 5.0, 60.0

_KEY = re.compile(r'[a-z0-9_][a-z0-9_.-]{0,63}')
_FIELDS = frozenset(
    ('command', 'file', 'type', 'unit', 'period', 'timeout', 'pattern', 'step')
)
_BOOLEANS = {
    **dict.fromkeys(('1', 'true', 'yes', 'on'), True),
    **dict.fromkeys(('0', 'false', 'no', 'off'), False),
}


class Definition(NamedTuple):
    """A statistic.

    :ivar command: what tells it, or empty.
    :ivar file: what it is read from, or ``''``.
    :ivar step: by how much a number must move to be told again.
    """

    key: str
    command: tuple[str, ...]
    file: str
    type: str
    unit: str | None
    period: float
    timeout: float
    pattern: re.Pattern[str] | None
    step: float

    def read(self, said: str) -> Any:
        """Return the value in what was said.

        :raises ValueError: there is none.
        """
        if self.pattern is not None:
            found = self.pattern.search(said)
            if found is None:
                raise ValueError(f'nothing matches {self.pattern.pattern!r}')
            said = found[1] if self.pattern.groups else found[0]
        return _TYPES[self.type](said.strip())


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text} is no number')
    return value


def _text(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise ValueError(f'it has more than {TEXT_MAX} characters')
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f'{text[:40]!r} is neither true nor false')
    return _BOOLEANS[text.lower()]


_TYPES: Mapping[str, Callable[[str], Any]] = {
    'integer': int,
    'number': _number,
    'text': _text,
    'boolean': _boolean,
    'json': lambda text: json.loads(_text(text)),
}


def load(folder: str) -> tuple[dict[str, Definition], dict[str, str]]:
    """Return the definitions by key, and what is wrong by key or by file.

    Only files of root's, or of the agent's own user, count, that nobody else may
    write: they say what the agent runs.
    """
    found: dict[str, Definition] = {}
    problems: dict[str, str] = {}
    try:
        names = sorted(os.listdir(folder))
        if names:
            _check_owner(folder)
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError) as error:
        return {}, {folder: str(error)}
    for name in names:
        if not name.endswith('.conf'):
            continue
        try:
            sections = _parse(os.path.join(folder, name))
        except (OSError, ValueError, configparser.Error) as error:
            problems[name] = ' '.join(str(error).split())
            continue
        for key, fields in sections.items():
            try:
                if key in found:
                    raise ValueError('it is defined twice')
                if len(found) >= COUNT_MAX:
                    raise ValueError(f'there are more than {COUNT_MAX}')
                found[key] = define(key, fields)
            except ValueError as error:
                problems[key] = f'{name}: {error}'
    return found, problems


def define(key: str, fields: Mapping[str, str]) -> Definition:
    """Return the definition that a section makes.

    :raises ValueError: it makes none.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f'the key {key!r} has other characters than a-z 0-9 _ . -')
    if key.startswith('collectd.'):
        raise ValueError("keys that begin with 'collectd.' are those of its values")
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise ValueError(f'there is no field {min(unknown)!r}')
    command = tuple(shlex.split(fields.get('command', '')))
    file = fields.get('file', '')
    if bool(command) == bool(file):
        raise ValueError('it needs a command or a file, and not both')
    if file and not file.startswith('/'):
        raise ValueError('the path of the file must begin with /')
    kind = fields.get('type', 'number')
    if kind not in _TYPES:
        raise ValueError(f'type: {kind!r} is none of {", ".join(_TYPES)}')
    try:
        pattern = re.compile(fields['pattern'], re.M) if 'pattern' in fields else None
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f'pattern: {error}') from None
    return Definition(
        key=key,
        command=command,
        file=file,
        type=kind,
        unit=fields.get('unit') or None,
        period=_seconds(fields, 'period', PERIOD, 86400),
        timeout=_seconds(fields, 'timeout', TIMEOUT, TIMEOUT_MAX),
        pattern=pattern,
        step=_number(fields.get('step', '0')),
    )


def _seconds(
    fields: Mapping[str, str], name: str, default: float, largest: float
) -> float:
    text = fields.get(name, str(default))
    try:
        value = _number(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= largest:
        raise ValueError(f'{name}: {text!r} is no number up to {largest:g}')
    return value


def _parse(path: str) -> dict[str, dict[str, str]]:
    _check_owner(path)
    parser = configparser.ConfigParser(interpolation=None, default_section='')
    with open(path, encoding='utf-8') as file:
        parser.read_file(file, path)
    return {key: dict(parser[key]) for key in parser.sections()}


def _check_owner(path: str) -> None:
    told = os.stat(path)
    if told.st_uid not in (0, os.geteuid()):
        raise ValueError(f"it is not root's, but user {told.st_uid}'s")
    if told.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError('others than its owner may write it')
