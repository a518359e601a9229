# SPDX-License-Identifier: Apache-2.0
"""``guestagent --check-config``: all that the start would stumble over, at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from guestagent import errors, extension
from guestagent import loop as loops
from guestagent.agent import instance, privileges, registry, trust
from guestagent.agent.policy import files
from guestagent.bus import factory
from guestagent.conf import agent as options
from guestagent.conf import check as checks
from guestagent.conf import config


def check(conf: config.Config) -> checks.Findings:
    """Load what a start loads, but start and connect nothing."""
    problems: list[str] = []
    known = registry.Registry(conf, extension.Host())
    _collect(problems, lambda: known.load(conf.enabled_extensions, False))
    if conf.enabled_channels:
        from guestagent.agent import channels  # most agents have none

        _collect(problems, lambda: channels.find(conf, conf.enabled_channels))
    loop = loops.Loop()
    _collect(problems, lambda: instance.find(conf.instance_id))
    _collect(problems, lambda: conf.policy.file and files.load(conf.policy.file))
    _collect(problems, lambda: _check_keys(conf))
    # The name does not matter; the one above may be missing.
    _collect(problems, lambda: factory.make(conf, loop, 'check'))
    loop.close()
    library: list[tuple[str, list[Any]]] = []
    _collect(problems, lambda: library.extend(factory.library_options(conf)))
    spare = known.unread_sections() | options.unread_channels(conf)
    names = checks.names(conf, spare, library)
    found = [*checks.values(conf), *names.problems, *problems]
    failed = [
        f'extension {loaded.name}: {loaded.problem}'
        for loaded in known.extensions()
        if loaded.problem
    ]
    warnings = [*names.warnings, *privileges.notes(conf, known.extensions())]
    if not found and conf.require_extensions:
        return checks.Findings(failed, warnings)
    return checks.Findings(found, [*warnings, *failed])


def _collect(problems: list[str], step: Callable[[], object]) -> None:
    try:
        step()
    except errors.ConfigError as error:
        if str(error) not in problems:
            problems.append(str(error))
    except cfg.Error:
        pass  # a wrong value: checks.values() says more of it


def _check_keys(conf: config.Config) -> None:
    """Read the keys, where there are to be any.

    :raises guestagent.errors.ConfigError: they make no sense.
    """
    if trust.is_configured(conf):
        from guestagent.agent import sealing

        sealing.read(conf.seal)
