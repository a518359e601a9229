# SPDX-License-Identifier: Apache-2.0
"""The options of the section [qga]."""

from typing import Any

from oslo_config import cfg

from guestagent_qga.standalone import options as standalone
from guestagent_qga.transports import opening

OPTIONS = [
    cfg.StrOpt(
        'method',
        default='virtio-serial',
        choices=[
            ('virtio-serial', 'At the other end of a port of virtio-serial.'),
            ('isa-serial', 'At the other end of a serial line, at 38400 baud.'),
            ('unix-listen', 'They connect to a unix socket.'),
            ('vsock-listen', 'They connect to a vsock socket.'),
        ],
        help='Where the clients are.',
    ),
    cfg.StrOpt(
        'path',
        default='',
        help='The device, the path of the unix socket, or the address of the vsock '
        'socket as <cid>:<port>. Empty: the usual device, '
        f'{opening.METHODS["virtio-serial"]} or '
        f'{opening.METHODS["isa-serial"]}.',
    ),
    cfg.ListOpt(
        'block_rpcs', default=[], help='The commands that are refused, as guest-exec.'
    ),
    cfg.ListOpt(
        'allow_rpcs',
        default=[],
        help='The only commands that are not refused, if there are any here; '
        'block_rpcs goes before.',
    ),
    cfg.IntOpt(
        'answer_limit',
        default=4000000,
        min=0,
        help='The most bytes of an answer that may be shorter than what was asked for: '
        'the next part of a file, or the output of a program, which is cut. libvirt '
        'takes no more than 4 MiB. 0: no limit.',
    ),
    cfg.FloatOpt(
        'freeze_limit',
        default=0,
        min=0,
        help='After how many seconds a freeze ends by itself. 0: the limit of the '
        'extension fsfreeze.',
    ),
    cfg.StrOpt(
        'version',
        default=standalone.VERSION,
        help='The version of qemu-ga that this pretends to be.',
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """Return the options for oslo-config-generator."""
    return [('qga', OPTIONS)]
