# SPDX-License-Identifier: Apache-2.0
"""Where backups and logs go, and what a replica begins with; no commands."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from guestagent import errors, extension
from guestagent_trove import base

LOG = logging.getLogger(__name__)

#: A reserved address: to connect a datagram socket to it sends nothing.
_ELSEWHERE = ('192.0.2.1', 9)

SWIFT = 'swift'

#: Trove keeps no longer checksum.
CHECKSUM_MAX = 32


class Storing(base.Base):
    """Makes what ``datastore`` takes as a storage and as a source."""

    def target(
        self,
        context: extension.Context,
        storage: str = SWIFT,
        url: str | None = None,
        container: str | None = None,
    ) -> dict[str, str]:
        """Return where to store, with the token of the user who asks.

        What is left out ``datastore`` has in its options.
        """
        found = {'container': container}
        if storage == SWIFT:
            found['url'] = url or self._endpoint(context.values)
            found['token'] = context.values.get('auth_token')
        return {name: value for name, value in found.items() if value}

    def restore_from(
        self, info: Mapping[str, Any], context: extension.Context
    ) -> dict[str, Any]:
        """Return the arguments of ``datastore.backup_restore``."""
        location = info['location']
        # .../<container>/<name>
        container = location.rstrip('/').rpartition('/')[0].rpartition('/')[2]
        storage = self.storage(info)
        return {
            'location': location,
            'checksum': info.get('checksum') or '',
            'storage': storage,
            'target': self.target(context, storage, info.get('swift_url'), container),
        }

    def storage(self, info: Mapping[str, Any]) -> str:
        """Return the storage that a backup is in, or is to go to."""
        return str(info.get('storage_driver') or self.conf.storage_strategy)

    def source_of(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        """Return a replica's source as ``datastore.replication_attach`` takes it.

        :raises guestagent.errors.InvalidArgument: it does not say enough, or it is for
            another way of replication.
        """
        strategy = snapshot.get('replication_strategy')
        own = self.conf.replication_strategy
        if strategy and own and strategy != own:
            raise errors.InvalidArgument(
                f'the source replicates by {strategy}, this instance by {own}'
            )
        try:
            master, conf = snapshot['master'], snapshot['replica_conf']
            user, log = conf['replication_user'], conf.get('log_position') or {}
            return {
                'host': master['host'],
                'port': int(master['port']),
                'user': user['name'],
                'password': user['password'],
                # A replica goes on from where its own data ends.
                'position': '',
                'slot': log.get('slot') or '',
                'tls': bool(log.get('tls')),
                'ca': log.get('ca') or '',
            }
        except (KeyError, TypeError, ValueError) as error:
            raise errors.InvalidArgument(
                f'what is said of the source is not enough: {error!r}'
            ) from None

    def replica_conf(self, context: extension.Context) -> dict[str, Any]:
        """Return what a replica needs to know of this source, in Trove's words."""
        account = self.ask('replication_account', context)
        return {
            'master': {
                'host': account['host'] or self._address(),
                'port': account['port'],
            },
            'replica_conf': {
                'log_position': {
                    name: account[name] for name in ('slot', 'tls', 'ca')
                },
                'replication_user': {
                    'name': account['user'], 'password': account['password']
                },
            },
        }  # fmt: skip

    def _address(self) -> str:
        """Return the address at which replicas reach this instance."""
        if self.conf.network_isolation:
            try:
                with open(self.conf.eth1_config, encoding='utf-8') as file:
                    found = json.load(file)
            except (OSError, ValueError) as error:
                LOG.warning('%s: %s', self.conf.eth1_config, error)
            else:
                address = found.get('ipv4_address') or found.get('ipv6_address')
                if address:
                    return str(address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(_ELSEWHERE)
            except OSError:
                return '127.0.0.1'
            return str(probe.getsockname()[0])

    def _endpoint(self, values: Mapping[str, Any]) -> str | None:
        """Return Swift's URL from the user's service catalog, if it is there."""
        catalog: Sequence[Any] = values.get('service_catalog') or ()
        kind = self.conf.swift_service_type
        interface = self.conf.swift_endpoint_type
        region = self.conf.os_region_name
        for service in catalog:
            if service.get('type') != kind:
                continue
            for endpoint in service.get('endpoints') or ():
                if region and endpoint.get('region') != region:
                    continue
                if endpoint.get(interface):
                    return str(endpoint[interface])
        return None
