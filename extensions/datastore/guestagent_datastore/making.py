# SPDX-License-Identifier: Apache-2.0
"""Make the engine that the options name; without oslo.config, which is large."""

from __future__ import annotations

import pathlib
from typing import Any

from guestagent import entrypoints, errors
from guestagent_datastore import engine, models

#: The group of entry points in which engines are found.
GROUP = 'guestagent.datastore.engines'


def make_engine(conf: Any) -> engine.Engine:
    """Return the engine that the options name, with its place.

    :raises guestagent.errors.ConfigError: none is named, or there is no such engine.
    """
    kind: type[engine.Engine] | None = entrypoints.load(GROUP, conf.engine)
    if kind is None:
        found = ', '.join(entrypoints.names(GROUP))
        raise errors.ConfigError(
            f'[datastore] engine: {conf.engine!r} is not one of '
            f'{found or "the engines, of which none is installed"}'
        )
    return kind(make_place(conf, kind))


def make_place(conf: Any, kind: type[engine.Engine]) -> models.Place:
    """Return where the server of this engine lives."""
    volume = pathlib.Path(conf.mount_point or f'/var/lib/{kind.name}')
    own = f'guestagent-{kind.name}'
    return models.Place(
        volume=volume,
        data=volume / 'data',
        config=pathlib.Path(conf.config_folder or f'/etc/{own}'),
        run=pathlib.Path(conf.run_folder or f'/run/{own}'),
        state=volume / 'guestagent',
        logs=pathlib.Path(conf.log_folder or f'/var/log/{own}'),
        user=conf.server_user or kind.user,
        port=kind.port if conf.port is None else conf.port,
        listen=conf.listen,
    )
