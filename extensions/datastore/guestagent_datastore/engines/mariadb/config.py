# SPDX-License-Identifier: Apache-2.0
"""Overrides of MariaDB's variables: checked by what the server says of each.

They are kept on the volume, each with the run of the server in which it was set: one
that needs a restart counts in another run only.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guestagent import errors
from guestagent_datastore import files, models, programs
from guestagent_datastore.engines.mariadb import server, sql, variables

_LIST = f'SELECT {variables.COLUMNS} FROM information_schema.system_variables'

#: Where the server's list of what its files say begins.
_TABLE = re.compile(r'^-{5,} -{5,}$', re.MULTILINE)


class Config(server.Server):
    """Shows variables, and keeps and applies overrides."""

    @property
    def _overrides_file(self) -> pathlib.Path:
        return self.place.state / 'overrides.json'

    def configure(self, contents: str | None = None, memory: int = 0) -> None:
        """Write the files; overrides that the volume has kept among them."""
        super().configure(contents, memory)
        self._write_overrides(self._read_overrides())

    def parameters(self, names: Sequence[str] | None) -> list[models.Parameter]:
        """Return these parameters, or all that can stand in a configuration."""
        kept = self._read_overrides()
        run = self._run()
        if names is None:
            found = [v for v in self._variables().values() if v.option]
        else:
            found = self._find(names)
        return [
            models.Parameter(
                name=variable.name,
                value=variable.value,
                override=kept.get(variable.name, _NOTHING)['value'],
                kind=variable.kind,
                minimum=variable.minimum,
                maximum=variable.maximum,
                choices=variable.choices,
                dynamic=variable.dynamic,
                restart_required=not variable.dynamic
                and kept.get(variable.name, _NOTHING)['run'] == run,
            )
            for variable in sorted(found, key=lambda variable: variable.name)
        ]

    def check_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Check names, types and ranges against the server; nothing changes."""
        self._typed(overrides)

    def set_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Keep these overrides beside earlier ones.

        :raises guestagent.errors.InvalidArgument: the server does not take them; those
            of before stay.
        """
        before = self._read_overrides()
        run = self._run()
        fresh = {
            name: {'value': value, 'run': run}
            for name, value in self._typed(overrides).items()
        }
        self._write_overrides(before | fresh)
        try:
            self.check_files()
        except errors.GuestError as error:
            self._write_overrides(before)
            raise errors.InvalidArgument(f'overrides: {error}') from None

    def reset_overrides(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Forget these overrides, or all."""
        kept = self._read_overrides()
        present = [name for name in kept if kept[name]['value'] is not None]
        if names is not None:
            wanted = set(map(variables.canonical, names))
            present = [name for name in present if name in wanted]
        # The value of before counts until the next start.
        run = self._run()
        self._write_overrides(
            kept | {name: {'value': None, 'run': run} for name in present}
        )
        return tuple(present)

    def apply_overrides(self, names: Sequence[str] | None = None) -> models.Applied:
        """Have the running server take the kept values now, where it can."""
        kept = self._read_overrides()
        chosen = kept if names is None else map(variables.canonical, names)
        found = self._find(chosen)
        base: dict[str, str] | None = None
        for variable in found:
            if not variable.dynamic:
                continue
            value = kept.get(variable.name, _NOTHING)['value']
            if value is None:
                base = self._configured() if base is None else base
                value = _from_table(variable, base.get(variable.name))
            self._set(variable.name, value)
        return models.Applied(
            tuple(variable.name for variable in found if variable.dynamic),
            tuple(variable.name for variable in found if not variable.dynamic),
        )

    def overrides(self) -> dict[str, models.Value]:
        """Return the overrides that are kept."""
        return {
            name: entry['value']
            for name, entry in self._read_overrides().items()
            if entry['value'] is not None
        }

    def _set(self, name: str, value: models.Value | None) -> None:
        word = sql.check_word('name', name)
        given = int(value) if isinstance(value, bool) else value
        self.client.query(f'SET GLOBAL {word} = %s', given)

    def _typed(self, overrides: Mapping[str, models.Value]) -> dict[str, models.Value]:
        """Return overrides as the server takes them.

        :raises guestagent.errors.InvalidArgument: names each that it does not.
        """
        known = self._variables()
        typed: dict[str, models.Value] = {}
        wrong = []
        for given, value in overrides.items():
            name = variables.canonical(given)
            try:
                typed[name] = _changeable(known.get(name), name).typed(value)
            except errors.InvalidArgument as error:
                wrong.append(f'{name}: {error}')
        if wrong:
            raise errors.InvalidArgument('; '.join(wrong))
        return typed

    def _find(self, names: Iterable[str]) -> list[variables.Variable]:
        known = self._variables()
        wanted = [variables.canonical(name) for name in names]
        for name in wanted:
            if name not in known:
                raise errors.InvalidArgument(f'names: MariaDB has no variable {name!r}')
        return [known[name] for name in wanted]

    def _variables(self) -> dict[str, variables.Variable]:
        found = map(variables.Variable.from_row, self.client.query(_LIST))
        return {variable.name: variable for variable in found}

    def _run(self) -> str:
        """Return what tells this run of the server from another; ``''``: none."""
        pid = self.server_pid()
        try:
            text = pathlib.Path(f'/proc/{pid}/stat').read_text()
        except OSError:
            return ''
        # In ticks since the boot; the name before it may hold spaces.
        started = text.rpartition(')')[2].split()[19]
        boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot}-{pid}-{started}'

    def _configured(self) -> dict[str, str]:
        """Return what the server would begin with, by its files."""
        argv = (*self.server_command().argv, '--help', '--verbose')
        said = programs.run(
            models.Command(argv, user=self.place.user, folder=self.place.run)
        )
        table = _TABLE.split(said)[-1]
        rows = (line.split(None, 1) for line in table.split('\n\n')[0].splitlines())
        return {
            variables.canonical(row[0]): row[1].strip() if len(row) > 1 else ''
            for row in rows
            if row
        }

    def _read_overrides(self) -> dict[str, dict[str, Any]]:
        kept: dict[str, dict[str, Any]] = json.loads(
            files.read(self._overrides_file) or '{}'
        )
        return kept

    def _write_overrides(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        files.write(self._overrides_file, json.dumps(kept), 0o600)
        lines = [
            variables.option(name, entry['value'])
            for name, entry in sorted(kept.items())
            if entry['value'] is not None
        ]
        files.write(self.file(server.OVERRIDES), '\n'.join(['[mariadbd]', *lines, '']))


_NOTHING: dict[str, Any] = {'value': None, 'run': None}


def _changeable(variable: variables.Variable | None, name: str) -> variables.Variable:
    if variable is None:
        raise errors.InvalidArgument('MariaDB has no such variable')
    if name in variables.OWNED:
        raise errors.InvalidArgument('the extension sets it by itself')
    if not variable.option:
        raise errors.InvalidArgument('it is for a session, not for the server')
    return variable


def _from_table(variable: variables.Variable, text: str | None) -> models.Value | None:
    """Return a value of the server's list as a statement has it."""
    if text is None or text == '(No default value)':
        return None
    return variable.typed(text)
