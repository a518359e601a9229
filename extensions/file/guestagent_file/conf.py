# SPDX-License-Identifier: Apache-2.0
"""The options of the section [file]."""

from typing import Any

from oslo_config import cfg

OPTIONS = [
    cfg.ListOpt(
        'allowed_paths',
        default=['/'],
        help='Folders, by their full paths: nothing outside of them can be reached, '
        'through links neither. Nobody but root should be able to replace one of them.',
    ),
    cfg.ListOpt(
        'denied_paths',
        default=[],
        help='Files and folders, by their full paths, that cannot be reached though '
        "they are within allowed_paths; the agent's own (its state, keys, policy and "
        'configuration) never can.',
    ),
    cfg.IntOpt(
        'handles_max',
        default=64,
        min=1,
        max=4096,
        help='How many files may be open, or be pushed or pulled, at a time.',
    ),
    cfg.FloatOpt(
        'handle_idle',
        default=3600,
        min=0.1,
        max=7 * 86400,
        help='After so many seconds without use an open file is closed, and a push or '
        'pull that was broken off cannot be resumed any more.',
    ),
    cfg.IntOpt(
        'read_max',
        default=48 * 1024 * 1024,
        min=4096,
        max=64 * 1024 * 1024,
        mutable=True,
        help='The most that one command reads, in bytes. The result must also fit '
        '[dispatcher] max_result_size, in base64.',
    ),
    cfg.IntOpt(
        'list_max',
        default=1000,
        min=1,
        max=100000,
        mutable=True,
        help='The most entries of a folder that one command returns.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('file', OPTIONS)]
