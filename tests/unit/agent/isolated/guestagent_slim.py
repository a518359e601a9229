# SPDX-License-Identifier: Apache-2.0
"""Extensions that import oslo.config with their options only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guestagent import errors, extension

if TYPE_CHECKING:
    from oslo_config import cfg


class Slim(extension.Extension):
    """Tells what its process has imported, and what its options are."""

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        from oslo_config import cfg

        return (
            cfg.StrOpt('name', default='none'),
            cfg.IntOpt('count', default=3, min=1),
            cfg.FloatOpt('ratio', default=0.5),
            cfg.BoolOpt('wanted', default=False),
            cfg.ListOpt('colours', default=['red']),
            cfg.DictOpt('sizes', default={}),
            cfg.MultiStrOpt('place'),
            cfg.PortOpt('port'),
        )

    @extension.command(mutates=False)
    def told(self, context: extension.Context) -> dict[str, Any]:
        """Return the options."""
        return dict(self.conf)

    @extension.command(mutates=False)
    def lacks(self, context: extension.Context) -> Any:
        """Ask for an option that there is not."""
        return self.conf.nothing

    @extension.command(mutates=False)
    def imported(self, context: extension.Context) -> bool:
        """Whether oslo.config is in this process."""
        return 'oslo_config' in sys.modules

    @extension.command(mutates=False)
    def children(self, context: extension.Context) -> list[int]:
        """Return the processes that this one has started."""
        with open(f'/proc/{os.getpid()}/task/{os.getpid()}/children') as file:
            return [int(each) for each in file.read().split()]


class Odd(Slim):
    """Has an option whose value JSON cannot carry."""

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        from oslo_config import cfg

        return (cfg.Opt('point', type=complex, default='1+2j'),)

    @extension.command(mutates=False)
    def told(self, context: extension.Context) -> dict[str, Any]:
        """Return the option in parts."""
        return {'real': self.conf.point.real, 'imag': self.conf.point.imag}


class Fails(Slim):
    """Cannot be described."""

    @classmethod
    def list_options(cls) -> Sequence[cfg.Opt]:
        raise errors.GuestError('no options today')
