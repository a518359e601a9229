# SPDX-License-Identifier: Apache-2.0
"""The options of guestctl: where the bus is.

Those of the connection to it (the section ``[oslo_messaging_rabbit]``) are
oslo.messaging's own.
"""

from oslo_config import cfg

from guestagent.bus import topics

OPTIONS = [
    cfg.StrOpt(
        'transport_url',
        secret=True,
        help='Where the bus is, as rabbit://user:password@host:port/vhost. The '
        'special characters of a password are percent-encoded.',
    ),
    cfg.StrOpt(
        'control_exchange',
        default=topics.CONTROL_EXCHANGE,
        help='The control exchange of the guests.',
    ),
]
