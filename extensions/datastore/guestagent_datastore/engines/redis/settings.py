# SPDX-License-Identifier: Apache-2.0
"""Parameters and overrides; the installed server checks each, also when it is down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestagent import errors
from guestagent_datastore import models
from guestagent_datastore.engines import overrides as kept_overrides
from guestagent_datastore.engines.redis import client, conffile, server

#: What a running server does not change.
FIXED = frozenset(
    {
        'always-show-logo',
        'aof_rewrite_cpulist',
        'bgsave_cpulist',
        'bio_cpulist',
        'cluster-config-file',
        'cluster-enabled',
        'cluster-port',
        'databases',
        'disable-thp',
        'io-threads',
        'io-threads-do-reads',
        'rdbchecksum',
        'server_cpulist',
        'set-proc-title',
        'socket-mark-id',
        'syslog-facility',
        'syslog-ident',
        'tcp-backlog',
    }
)
#: What is not a parameter, or would make another server of it.
_REFUSED = frozenset(
    {
        'include',
        'loadmodule',
        'masterauth',
        'masteruser',
        'rename-command',
        'replicaof',
        'requirepass',
        'slaveof',
        'user',
    }
)


class Settings(server.Server):
    """What has to do with parameters."""

    def parameters(self, names: Sequence[str] | None) -> list[models.Parameter]:
        """Return these parameters, or all; of a server that does not run, overrides."""
        wanted = None if names is None else [conffile.check_name(x) for x in names]
        overrides = self.recall().overrides
        try:
            present = self.client.pairs('CONFIG', 'GET', '*')
        except client.NotListening:
            return [
                models.Parameter(name, None, value, 'string')
                for name, value in sorted(overrides.items())
                if wanted is None or name in wanted
            ]
        missing = sorted(set(wanted or ()) - set(present))
        if missing:
            raise errors.InvalidArgument(f'Redis has no parameter {", ".join(missing)}')
        fixed = FIXED | set(self.own_values()) | _REFUSED
        return [
            models.Parameter(
                name=name,
                value=present[name],
                override=overrides.get(name),
                kind=_kind(present[name]),
                dynamic=name not in fixed,
                restart_required=_waits(overrides, name, present[name]),
            )
            for name in sorted(present if wanted is None else wanted)
        ]

    def overrides(self) -> dict[str, models.Value]:
        """Return the overrides that are kept."""
        return self.recall().overrides

    def check_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Have the server say what it thinks of each; nothing changes."""
        reasons = []
        for given, value in overrides.items():
            name = conffile.check_name(given)
            try:
                if name in self.own_values() or name in _REFUSED:
                    raise errors.InvalidArgument(f'{name}: it cannot be overridden')
                self.check_file(server.OVERRIDES, conffile.lines({name: value}))
            except errors.InvalidArgument as error:
                reasons.append(str(error))
        if reasons:
            raise errors.InvalidArgument('; '.join(reasons))

    def set_overrides(self, overrides: Mapping[str, models.Value]) -> None:
        """Check overrides and keep them beside earlier ones."""
        self.check_overrides(overrides)
        state = self.recall()
        new = {conffile.check_name(name): overrides[name] for name in overrides}
        if self.ready() == 'healthy':
            present = self.client.pairs('CONFIG', 'GET', '*')
            for name in new:
                if name in present:
                    state.originals.setdefault(name, present[name])
        state.overrides |= new
        self.keep(state)

    def reset_overrides(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Forget these overrides, or all."""
        state = self.recall()
        forgotten = kept_overrides.forget(state.overrides, names, conffile.check_name)
        self.keep(state)
        return forgotten

    def apply_overrides(self, names: Sequence[str] | None = None) -> models.Applied:
        """Have the running server take the values; say which wait for a start.

        One that was reset gets what it had before; if that is not known, it waits.
        """
        state = self.recall()
        applied, waiting = [], []
        for name in map(
            conffile.check_name, state.overrides if names is None else names
        ):
            value: models.Value | None = state.overrides.get(name)
            if value is None:
                value = state.originals.pop(name, None)
            if value is None or name in FIXED:
                waiting.append(name)
                continue
            self.client.run('CONFIG', 'SET', name, conffile.text(value))
            applied.append(name)
        self.keep(state)
        return models.Applied(tuple(sorted(applied)), tuple(sorted(waiting)))


def _kind(value: str) -> str:
    if value in ('yes', 'no'):
        return 'boolean'
    return 'integer' if value.lstrip('-').isdecimal() else 'string'


def _waits(overrides: Mapping[str, models.Value], name: str, present: str) -> bool:
    if name not in overrides or name not in FIXED:
        return False
    return conffile.text(overrides[name]).lower() != present.lower()
