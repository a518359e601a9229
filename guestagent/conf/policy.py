# SPDX-License-Identifier: Apache-2.0
"""The options of the section [policy], and the switch that asks the policy."""

from typing import Any

from oslo_config import cfg


class Words(cfg.Opt):
    """A switch that takes one word or more."""

    def __init__(self, name: str, metavar: tuple[str, str], help: str) -> None:
        words: Any = list
        super().__init__(name, type=words, help=help)
        self._words = metavar

    def _get_argparse_kwargs(self, group: Any, **kwargs: Any) -> dict[str, Any]:
        made: dict[str, Any] = super()._get_argparse_kwargs(group, **kwargs)
        # Or oslo.config would take a $ for the name of an option.
        return {
            **made,
            'metavar': self._words,
            'nargs': '+',
            'type': lambda word: word.replace('$', '$$'),
        }


OPTIONS = [
    cfg.StrOpt(
        'file',
        default='',
        sample_default='/etc/guestagent/policy.conf',
        mutable=True,
        help='The file that says which caller may use which command, with which '
        'arguments (doc/policy.rst). Only root or the agent may be able to write it. '
        'What no rule in it allows is refused. Empty: whoever gets a command as far '
        'as the agent may use it. The file is read again on SIGHUP.',
    )
]

#: Switches of the command line only.
SWITCHES = [
    Words(
        'explain',
        metavar=('CALLER', 'COMMAND [JSON]'),
        help='Say whether the policy lets this caller use this command with these '
        'arguments (a JSON object), by which rule and why, and exit: 0 if so, 1 if '
        'not. plain:NAME is a caller who has not proven the name, plain: one who has '
        'none.',
    )
]
