# SPDX-License-Identifier: Apache-2.0
"""What a variable of the server may be set to; no I/O.

The server itself says which variables there are and what they take.
"""

from __future__ import annotations

import dataclasses
import re

from guestagent import errors
from guestagent_datastore import models

#: What the extension relies on, or sets by commands of its own.
OWNED = frozenset(
    (
        'basedir',
        'bind_address',
        'datadir',
        'gtid_domain_id',
        'gtid_strict_mode',
        'init_file',
        'log_bin',
        'log_error',
        'log_slave_updates',
        'pid_file',
        'plugin_dir',
        'port',
        'read_only',
        'server_id',
        'skip_networking',
        'socket',
        'ssl_ca',
        'ssl_cert',
        'ssl_key',
    )
)

_KINDS = {
    'BOOLEAN': 'boolean',
    'DOUBLE': 'float',
    'ENUM': 'enum',
    'SET': 'set',
    'FLAGSET': 'set',
    'VARCHAR': 'string',
}
#: Variables that files call otherwise.
_OPTIONS = {
    'tx_isolation': 'transaction_isolation',
    'tx_read_only': 'transaction_read_only',
}
_VARIABLES = {option: variable for variable, option in _OPTIONS.items()}

_NUMBER = re.compile(r'(-?\d+)([KMGTPE]?)\Z', re.IGNORECASE)
_TRUE, _FALSE = ('1', 'on', 'true', 'yes'), ('0', 'off', 'false', 'no')


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """A row of information_schema.system_variables.

    :ivar kind: as of :class:`guestagent_datastore.models.Parameter`.
    :ivar flags: a set whose members are switched, as in ``a=on,b=off``.
    :ivar option: whether it can stand in a configuration file.
    """

    name: str
    value: str | None
    kind: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    flags: bool
    dynamic: bool
    option: bool

    @classmethod
    def from_row(cls, row: tuple[str | None, ...]) -> Variable:
        """Make one of the columns that :data:`COLUMNS` names."""
        name, value, kind, least, most, choices, read_only, argument = row
        assert name is not None
        kind = kind or ''
        return cls(
            name=name.lower(),
            value=value,
            kind=_KINDS.get(kind, 'integer'),
            minimum=_bound(least),
            maximum=_bound(most),
            choices=tuple(choices.split(',')) if choices else (),
            flags=kind == 'FLAGSET',
            dynamic=read_only == 'NO',
            option=argument is not None or name.lower() in _OPTIONS,
        )

    def typed(self, value: models.Value) -> models.Value:
        """Return a value as the server takes it.

        :raises guestagent.errors.InvalidArgument: it is of another type, or out of
            range; without the name.
        """
        if self.kind == 'boolean':
            return self._boolean(value)
        if self.kind == 'integer':
            return self._integer(value)
        if self.kind == 'float':
            return self._float(value)
        text = self._text(value)
        if self.kind == 'enum':
            return self._choice(text)
        if self.kind == 'set' and text:
            for word in text.split(','):
                self._choice(word.partition('=')[0] if self.flags else word)
        return text

    def _boolean(self, value: models.Value) -> bool:
        word = str(value).lower()
        if word not in (*_TRUE, *_FALSE):
            raise errors.InvalidArgument(f'{value!r} is neither true nor false')
        return word in _TRUE

    def _integer(self, value: models.Value) -> int:
        found = None if isinstance(value, bool) else _NUMBER.match(str(value))
        if found is None:
            raise errors.InvalidArgument(f'{value!r} is no whole number')
        power = 'KMGTPE'.find(found[2].upper()) + 1 if found[2] else 0
        number = int(found[1]) * 1024**power
        self._check_range(number)
        return number

    def _float(self, value: models.Value) -> float:
        try:
            number = float(value)
        except ValueError:
            raise errors.InvalidArgument(f'{value!r} is no number') from None
        self._check_range(number)
        return number

    def _check_range(self, number: float) -> None:
        least, most = self.minimum, self.maximum
        # NaN is in no range.
        if least is not None and most is not None and not least <= number <= most:
            raise errors.InvalidArgument(f'{number} is not between {least} and {most}')

    def _text(self, value: models.Value) -> str:
        if isinstance(value, bool):
            return 'ON' if value else 'OFF'
        text = str(value)
        if any(ord(letter) < 0x20 for letter in text):
            raise errors.InvalidArgument('it has a control character')
        return text

    def _choice(self, word: str) -> str:
        known = {choice.lower(): choice for choice in self.choices}
        if word.isdecimal() and int(word) < len(self.choices):
            return self.choices[int(word)]
        if word.lower() not in known and not (self.flags and word == 'default'):
            raise errors.InvalidArgument(
                f'{word!r} is not one of {", ".join(self.choices)}'
            )
        return known.get(word.lower(), word)


#: The columns that :meth:`Variable.from_row` takes.
COLUMNS = (
    'variable_name, global_value, variable_type, numeric_min_value, '
    'numeric_max_value, enum_value_list, read_only, command_line_argument'
)


def canonical(name: str) -> str:
    """Return the name of a variable as the server has it."""
    plain = name.lower().replace('-', '_')
    return _VARIABLES.get(plain, plain)


def option(name: str, value: models.Value) -> str:
    r"""Return a line of a configuration file.

    >>> option('init_connect', 'SET @a = "x"')
    'init_connect = "SET @a = \\"x\\""'
    """
    name = _OPTIONS.get(name, name)
    if isinstance(value, bool):
        return f'{name} = {int(value)}'
    if isinstance(value, int | float):
        return f'{name} = {value}'
    text = value.replace('\\', '\\\\').replace('"', '\\"')
    return f'{name} = "{text}"'


def _bound(text: str | None) -> float | None:
    if text is None:
        return None
    return float(text) if '.' in text or 'e' in text else int(text)
