# SPDX-License-Identifier: Apache-2.0
"""Parameters: what is in effect, and overrides that the server itself has checked.

Overrides stand in a file of their own.  Before they are kept, the installed server
reads all files with them in place: it knows each parameter's type, range and choices,
also while it does not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines import overrides as kept_overrides
from guestagent_datastore.engines.postgresql import conffile, kept, layout, server

#: What the command line sets.
_COMMAND_LINE = (
    'config_file',
    'data_directory',
    'hba_file',
    'ident_file',
    'listen_addresses',
    'port',
    'unix_socket_directories',
)
#: What the files of keys set, also while there are none.
_KEYS = ('ssl_cert_file', 'ssl_key_file', 'ssl_ca_file')

_KINDS = {
    'bool': 'boolean',
    'enum': 'enum',
    'integer': 'integer',
    'real': 'float',
    'string': 'string',
}

#: The value with its unit, as SHOW has it; without one, as it is for others.
_PARAMETERS = """
SELECT name, CASE WHEN unit IS NULL THEN reset_val ELSE current_setting(name) END,
  vartype, min_val::float8, max_val::float8, coalesce(enumvals, '{{}}'), context,
  pending_restart
FROM pg_settings WHERE %s IS NULL OR lower(name) = ANY (%s) ORDER BY lower(name)
"""


class Settings(server.Server):
    """What has to do with parameters."""

    def parameters(self, names: Sequence[str] | None) -> list[models.Parameter]:
        """Return these parameters, or all; of a server that does not run, overrides."""
        wanted = None if names is None else [conffile.check_name(x) for x in names]
        overrides = self.recall().overrides
        if self.ready() == 'shutdown':
            return _not_running(overrides, wanted)
        with self.client.plain() as session:
            rows = session.query(_PARAMETERS, [wanted, wanted])
        found = [
            models.Parameter(
                name=row[0],
                value=row[1],
                override=overrides.get(row[0].lower()),
                kind=_KINDS[row[2]],
                minimum=row[3],
                maximum=row[4],
                choices=tuple(row[5]),
                dynamic=row[6] not in ('internal', 'postmaster'),
                restart_required=row[7],
            )
            for row in rows
        ]
        missing = set(wanted or ()) - {parameter.name.lower() for parameter in found}
        if missing:
            raise errors.InvalidArgument(
                f'PostgreSQL has no parameter {", ".join(sorted(missing))}'
            )
        return found

    def overrides(self) -> dict[str, models.Value]:
        """Return the overrides that are kept."""
        return self.recall().overrides

    def check_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Have the server say what it thinks of them; nothing changes."""
        state = self.recall()
        self._check_values(state, _lowered(overrides))

    def set_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Check overrides and keep them beside earlier ones."""
        state = self.recall()
        new = _lowered(overrides)
        self._check_values(state, new)
        state.overrides |= new
        self.keep(state)

    def reset_overrides(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Forget these overrides, or all."""
        state = self.recall()
        forgotten = kept_overrides.forget(state.overrides, names, conffile.check_name)
        self.keep(state)
        return forgotten

    def apply_overrides(self, names: Sequence[str] | None = None) -> models.Applied:
        """Have the running server read its files; say which values wait for a start."""
        chosen = self.overrides() if names is None else names
        wanted = {conffile.check_name(name) for name in chosen}
        self.reload()
        waiting = {
            name
            for (name,) in self.client.query(
                'SELECT lower(name) FROM pg_settings WHERE pending_restart'
            )
        }
        return models.Applied(
            tuple(sorted(wanted - waiting)), tuple(sorted(wanted & waiting))
        )

    def _check_values(
        self, state: kept.State, overrides: Mapping[str, models.Value]
    ) -> None:
        for name, value in overrides.items():
            if name in self.own_values(state) or name in (*_COMMAND_LINE, *_KEYS):
                raise errors.InvalidArgument(f'{name}: the agent sets it itself')
            if name == 'wal_level' and str(value).lower() == 'minimal':
                raise errors.InvalidArgument(
                    'wal_level: minimal would allow neither backups nor replicas'
                )
        try:
            self._try({**state.overrides, **overrides})
        except errors.InvalidArgument:
            # The server stops at the first name that it does not know.
            self._try_each(overrides)
            raise

    def _try(self, overrides: dict[str, models.Value]) -> None:
        self.check_file(layout.OVERRIDES, conffile.lines(overrides))

    def _try_each(self, overrides: Mapping[str, models.Value]) -> None:
        reasons = []
        for name, value in overrides.items():
            try:
                self._try({name: value})
            except errors.InvalidArgument as error:
                reasons.append(str(error))
        if reasons:
            raise errors.InvalidArgument('; '.join(reasons))


def _lowered(overrides: Mapping[str, models.Value]) -> dict[str, models.Value]:
    return {conffile.check_name(name): value for name, value in overrides.items()}


def _not_running(
    overrides: Mapping[str, models.Value], wanted: Sequence[str] | None
) -> list[models.Parameter]:
    return [
        models.Parameter(name, None, value, 'string')
        for name, value in sorted(overrides.items())
        if wanted is None or name in wanted
    ]
