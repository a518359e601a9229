# SPDX-License-Identifier: Apache-2.0
"""The options of the section [enroll]: where a guest's token is, how guestctl enrols.

What the two programs have in this section has nothing in common but the name.
"""

from typing import Any

from oslo_config import cfg

from guestagent.bus import topics

SECTION = 'enroll'

SHARED, EXCHANGE, VHOST = 'shared', 'exchange', 'vhost'

AGENT = [
    cfg.StrOpt(
        'token_file',
        default='',
        sample_default='/etc/guestagent/token',
        help='Where the one-time token of this guest is, or will be: the agent waits '
        'for it (doc/enrolment.rst). At its first start the agent exchanges it for '
        'its keys, which it keeps in state_dir, and deletes it; from then on what it '
        'got counts in place of transport_url, instance_id and [seal] key_file. The '
        'environment variable GUESTAGENT_TOKEN may hold the token itself.',
    )
]

#: Switches of the agent's command line only.
SWITCHES = [
    cfg.BoolOpt(
        'check-bus',
        default=False,
        help="Connect to RabbitMQ, say which rights this guest's account has there and "
        'which it should not have, and exit: 0 if they are right, 1 if not.',
    )
]

CTL = [
    cfg.ListOpt(
        'key_files',
        default=[],
        sample_default=['/etc/guestagent/nova.keys', '/etc/guestagent/conductor.keys'],
        help='Files with the master keys of which guests get theirs. One must be the '
        "conductor's.",
    ),
    cfg.StrOpt(
        'model',
        default=SHARED,
        choices=[
            (SHARED, 'All guests use the account that guest_url names.'),
            (EXCHANGE, 'Each has an account that may only do what it must.'),
            (VHOST, 'Each has an account and a virtual host of its own.'),
        ],
        help='What keeps guests apart on RabbitMQ (doc/enrolment.rst).',
    ),
    cfg.StrOpt(
        'guest_url',
        secret=True,
        sample_default='rabbit://guests:password@broker.example:5672/',
        help='The transport URL of guests. Where they have accounts of their own, '
        'that takes the place of the one named here.',
    ),
    cfg.StrOpt(
        'token_url',
        secret=True,
        sample_default='rabbit://enroll:password@broker.example:5672/',
        help='The transport URL of guests that have nothing but a token. Its account '
        'is made, and may do nothing but exchange tokens.',
    ),
    cfg.StrOpt(
        'management_url',
        secret=True,
        sample_default='https://admin:password@broker.example:15671',
        help="RabbitMQ's HTTP API, with an account that has the tag administrator.",
    ),
    cfg.StrOpt(
        'management_ca_file',
        help='The authority (PEM) that must have signed its certificate. Unset: one '
        'that the system trusts.',
    ),
    cfg.ListOpt(
        'vhost_users',
        default=[],
        sample_default=['conductor', 'nova'],
        help='Accounts of the conductor and of control planes, which get all rights '
        'in the virtual hosts of guests (model vhost).',
    ),
    cfg.StrOpt(
        'report_topic',
        default=topics.REPORT_TOPIC,
        help='That of the guests and the conductor.',
    ),
    cfg.IntOpt(
        'token_lifetime',
        default=3600,
        min=60,
        max=604800,
        help='How many seconds a token is good for.',
    ),
    cfg.IntOpt(
        'queue_length',
        default=1000,
        min=10,
        max=1000000,
        help='How many requests may wait for a guest that has an account of its own; '
        'more are refused.',
    ),
]


def register(conf: Any, options: list[Any]) -> None:
    """Register the options of one program on ``conf``."""
    conf.register_opts(options, group=SECTION)
