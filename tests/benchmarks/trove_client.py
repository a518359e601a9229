# SPDX-License-Identifier: Apache-2.0
"""Calls of Trove's guest API by a stock oslo.messaging client, with secure RPC.

What is sealed is sealed once, before the time begins: the client's own work is the same
for all, and hides the agents' less.
"""

import json
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

import oslo_messaging
from guestagent_trove import cipher
from oslo_config import cfg

from devstack import processes

TIMEOUT = 60

#: What Trove's API sends with each call.
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    'rpc_ping': {},
    'list_databases': {'limit': None, 'marker': None, 'include_marker': False},
}


class Client:
    """Calls one instance.

    :param transport: what :func:`connect` has returned.
    :param info: ``guest_info.conf``, as Trove injects it.
    :param context: of a request of Trove's API.
    """

    def __init__(
        self,
        transport: oslo_messaging.Transport,
        instance: str,
        info: pathlib.Path,
        context: Mapping[str, Any],
    ) -> None:
        found = re.search(r'^instance_rpc_encr_key *= *(\S+)$', info.read_text(), re.M)
        if found is None:
            raise processes.Failed(f'{info} has no key')
        self._cipher = cipher.Cipher(found[1])
        self._context = {'context': self._seal(context)}
        self._arguments = {
            method: {name: self._seal(value) for name, value in arguments.items()}
            for method, arguments in ARGUMENTS.items()
        }
        target = oslo_messaging.Target(
            exchange='trove', topic=f'guestagent.{instance}', version='1.0'
        )
        self._client = oslo_messaging.get_rpc_client(transport, target, timeout=TIMEOUT)

    def call(self, method: str, count: int = 1) -> list[float]:
        """Make calls one after another and return the seconds of each.

        :raises devstack.processes.Failed: the answer is none.
        :raises oslo_messaging.MessagingTimeout: no reply came.
        """
        seconds, answer = [], ''
        for _ in range(count):
            started = time.perf_counter()
            answer = self._client.call(self._context, method, **self._arguments[method])
            seconds.append(time.perf_counter() - started)
        if not json.loads(self._cipher.decrypt(answer)):
            raise processes.Failed(f'{method} answers {answer!r}')
        return seconds

    def _seal(self, value: Any) -> str:
        return self._cipher.encrypt(json.dumps(value))


def connect(url: str) -> oslo_messaging.Transport:
    """Return what clients share; clean it up."""
    cfg.CONF([])
    return oslo_messaging.get_rpc_transport(cfg.CONF, url)
