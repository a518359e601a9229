# SPDX-License-Identifier: Apache-2.0
"""The options of the sections [sso] and [desktop]."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt(
        'folder',
        default='/run/guestagent-sso',
        help='The folder of the socket on which the PAM module asks for credentials. '
        'The module has this path built in; another one needs its argument socket=.',
    ),
    cfg.FloatOpt(
        'hold',
        default=5,
        min=0.1,
        max=60,
        mutable=True,
        help='How many seconds credentials wait for the PAM module before they are '
        'forgotten.',
    ),
    cfg.BoolOpt(
        'without_token',
        default=False,
        mutable=True,
        help='Whether the PAM module may ask without the token, for the user whom the '
        "greeter has named. Greeters other than GNOME's know of no token.",
    ),
]

DESKTOP = [
    cfg.StrOpt(
        'folder',
        default='/run/guestagent-desktop',
        help='The folder of the socket to which the agents of sessions connect. It '
        "must exist, and be the agent's, where the agent is not root.",
    )
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('sso', OPTIONS), ('desktop', DESKTOP)]
