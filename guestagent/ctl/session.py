# SPDX-License-Identifier: Apache-2.0
"""From the options of ``guestctl`` to a client of the bus.

Opening one loads oslo.messaging, which takes longer than all the rest of the program.
"""

import argparse
import getpass
import os
import pathlib
from typing import TYPE_CHECKING

from oslo_config import cfg
from oslo_service import backend

from guestagent import errors
from guestagent.conf import ctl as ctl_options
from guestagent.conf import enroll, seal
from guestagent.ctl import base

if TYPE_CHECKING:
    from guestagent import client

#: The broker forgets the queue of this program's replies after so many seconds,
#: instead of the half hour that suits a service.
_REPLY_QUEUE_TTL = 60


def open_client(options: argparse.Namespace) -> 'client.Client':
    """Return a client; it connects when it is used.

    :raises guestagent.errors.ConfigError: the file cannot be read, there is no
        transport URL, or it is wrong.
    """
    # The library's default is eventlet, and it looks when it is imported.
    backend.init_backend(backend.BackendType.THREADING)
    from guestagent import client

    files = _files(options.config_file)
    found, library = own(options), _read(files)
    key_file, key_command = key_source(options)
    url = options.transport_url or found.transport_url
    if not url:
        raise errors.ConfigError(
            'no transport URL: give --transport-url, set GUESTAGENT_TRANSPORT_URL, or '
            f'write transport_url into {files[0] if files else base.CONFIG_FILE}'
        )
    made = client.Client(
        url=url,
        conf=library,
        exchange=options.exchange or found.control_exchange,
        caller=options.caller or ('' if key_file or key_command else _user()),
        timeout=options.timeout,
        bus_retries=0,
        key_file=key_file,
        key_command=key_command,
    )
    if 'oslo_messaging_rabbit' in library:
        library.set_default(
            'rabbit_transient_queues_ttl', _REPLY_QUEUE_TTL, 'oslo_messaging_rabbit'
        )
    return made


def key_source(options: argparse.Namespace) -> tuple[str, str]:
    """Return the file of the keys and the command for them, ``''`` where not set.

    :raises guestagent.errors.ConfigError: the configuration cannot be read.
    """
    if options.key_file:
        return options.key_file, ''
    command = os.environ.get('GUESTAGENT_KEY_COMMAND')
    if command:
        return '', command
    section = own(options)[seal.SECTION]
    return section.key_file, section.key_command


def own(options: argparse.Namespace) -> cfg.ConfigOpts:
    """Return the configuration with this program's own options.

    :raises guestagent.errors.ConfigError: it cannot be read.
    """
    conf = _read(_files(options.config_file))
    conf.register_opts(ctl_options.OPTIONS)
    seal.register(conf, seal.KEYS)
    enroll.register(conf, enroll.CTL)
    return conf


def _user() -> str:
    """Return the user's name, ``''`` for one that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ''


def _files(given: str | None) -> list[str]:
    """Return the configuration files to read: the given one, or the usual one."""
    if given is not None:
        return [given]
    return [base.CONFIG_FILE] if pathlib.Path(base.CONFIG_FILE).exists() else []


def _read(files: list[str]) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    try:
        conf([], project='guestctl', default_config_files=files, default_config_dirs=[])
    except (cfg.Error, OSError) as error:
        raise errors.ConfigError(
            f'configuration: {" ".join(str(error).split())}'
        ) from error
    return conf
