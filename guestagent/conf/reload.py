# SPDX-License-Identifier: Apache-2.0
"""Read the configuration again while the program runs: take over what may change (the
options that are ``mutable``), and say by name what needs a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from guestagent import errors
from guestagent.conf import check, config

LOG = logging.getLogger(__name__)


def reload(
    conf: config.Config,
    spare: Callable[[config.Config], Iterable[str]] = lambda fresh: (),
    others: Iterable[tuple[str | None, Iterable[Any]]] = (),
) -> bool:
    """Bring ``conf`` up to date; return whether it could be read.

    A configuration with a mistake changes nothing: each mistake is logged.

    :param spare: returns, of what the files say now, the sections that may stand there
        though nobody reads them.
    :param others: as in :func:`guestagent.conf.check.names`.
    """
    try:
        fresh = conf.again()
    except (cfg.Error, errors.ConfigError, OSError) as error:
        LOG.error('the configuration stays as it was: %s', error)
        return False
    names = check.names(fresh, spare(fresh), others)
    problems = [*check.values(fresh), *names.problems]
    for problem in problems:
        LOG.error('the configuration stays as it was: %s', problem)
    if problems:
        return False
    changed, frozen = _compare(conf, fresh)
    _mutate(conf)
    LOG.info('the configuration was read again; changed: %s', _join(changed))
    if frozen:
        LOG.warning('changed, but a restart is needed for it: %s', _join(frozen))
    return True


def _compare(conf: config.Config, fresh: config.Config) -> tuple[list[str], list[str]]:
    """Return what has changed: what may, and what may not."""
    changed: list[str] = []
    frozen: list[str] = []
    for option, group, _ in conf.registered():
        if conf.value(option, group) != fresh.value(option, group):
            where = changed if option.mutable else frozen
            where.append(f'[{group or check.DEFAULT}] {option.dest}')
    return changed, frozen


def _mutate(conf: config.Config) -> None:
    """Let oslo.config take over the files, without its own words on each option."""
    logger = logging.getLogger('oslo_config.cfg')
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        conf.mutate_config_files()
    finally:
        logger.setLevel(before)


def _join(names: list[str]) -> str:
    return ', '.join(names) or 'nothing'
