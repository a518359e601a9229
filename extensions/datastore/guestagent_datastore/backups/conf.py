# SPDX-License-Identifier: Apache-2.0
"""The options of the section [datastore] that backups and published logs have."""

from __future__ import annotations

from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt(
        'backup_storage',
        default='swift',
        help='Where backups and logs go when the caller names no storage: swift, file, '
        'or another one that is installed.',
    ),
    cfg.StrOpt(
        'backup_folder',
        default='',
        help='The folder of the storage file, such as a mounted share; it must be '
        'there.',
    ),
    cfg.StrOpt(
        'swift_url',
        default='',
        help="The URL of the user's account of Swift, for callers that name none.",
    ),
    cfg.StrOpt(
        'backup_container',
        default='database_backups',
        help='The container of backups when the caller names none.',
    ),
    cfg.StrOpt(
        'backup_compression',
        default='zstd',
        choices=[
            ('zstd', 'fast, and small'),
            ('gzip', "what Trove's own agent can restore"),
            ('none', 'for data that does not become smaller'),
        ],
        help='How new backups are compressed.',
    ),
    cfg.IntOpt(
        'backup_level',
        default=3,
        min=1,
        max=19,
        help='How much time to spend on compression; above 9 it counts as 9 for gzip.',
    ),
    cfg.StrOpt(
        'backup_key_file',
        default='',
        help='A file with the keys of backups, one a line, 64 hexadecimal digits each, '
        'which only its owner may read. New backups are encrypted with the first one; '
        'all of them open what they have encrypted. Without it backups are not '
        'encrypted.',
    ),
    cfg.IntOpt(
        'backup_segment_size',
        default=2 * 1024**3,
        min=1024**2,
        max=5 * 1024**3,
        help='How large the segments of a backup in Swift are, in bytes. Swift takes '
        '1000 segments of a backup unless its operator lets it take more.',
    ),
    cfg.StrOpt(
        'swift_ca_file',
        default='',
        help='The certificates that are trusted for Swift. Default: those that the '
        'system trusts.',
    ),
    cfg.BoolOpt(
        'swift_insecure',
        default=False,
        help='Whether to take any certificate of Swift. Whoever is on the way then '
        'gets the token and the backups.',
    ),
    cfg.StrOpt(
        'log_container',
        default='database_logs',
        help='The container of published logs when the caller names none.',
    ),
    cfg.IntOpt(
        'log_part_size',
        default=1000000,
        min=1000,
        max=100 * 1000**2,
        help='How large the parts of a published log are at most, in bytes.',
    ),
    cfg.IntOpt(
        'log_keep',
        default=2592000,
        min=0,
        help='Seconds after which Swift removes a part of a published log; 0: never.',
    ),
]
