# SPDX-License-Identifier: Apache-2.0
"""The options of the section [audit]."""

from oslo_config import cfg

REFUSE, CONTINUE = 'refuse', 'continue'

OPTIONS = [
    cfg.IntOpt(
        'max_size',
        default=16 * 1024 * 1024,
        min=65536,
        max=16 * 1024 * 1024 * 1024,
        help='How many bytes the audit log may take on the disk, about; the oldest '
        'quarter goes when there is more.',
    ),
    cfg.StrOpt(
        'on_failure',
        default=REFUSE,
        choices=[
            (REFUSE, 'Commands that change the guest are refused.'),
            (CONTINUE, 'They run, and how many records were lost is recorded later.'),
        ],
        help='What to do when the disk takes no records, as when it is full.',
    ),
]
