# SPDX-License-Identifier: Apache-2.0
"""Seal what a control plane sends to guests (doc/sealing.rst).

:mod:`guestagent.client` does it by itself where keys are configured.  A program that
has a client of oslo.messaging changes the line that makes it::

    client = sealed.wrap(oslo_messaging.get_rpc_client(transport, target),
                         key_file='/etc/nova/guests.keys')
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Self

import oslo_messaging

from guestagent import errors, sealer
from guestagent.bus import topics
from guestagent.seal import caller as callers


class RPCClient:
    """What :func:`wrap` returns: an oslo.messaging client whose requests are sealed.

    :ivar target: as that client's.
    """

    def __init__(self, client: Any, source: sealer.Sealer) -> None:
        self._client = client
        self._sealer = source

    @property
    def target(self) -> oslo_messaging.Target:
        """Where requests go; the topic is that of a guest."""
        return self._client.target

    def prepare(self, **changes: Any) -> Self:
        """Return one that differs so; as oslo.messaging's."""
        return type(self)(self._client.prepare(**changes), self._sealer)

    def can_send_version(self, *version: str) -> bool:
        """Whether the cap of versions allows this one."""
        return bool(self._client.can_send_version(*version))

    def call(self, ctxt: Any, method: str, **kwargs: Any) -> Any:
        """Run a command in the guest and return its result.

        :raises: what the guest raised: errors of this project and Python's own as
            they are, others as ``oslo_messaging.RemoteError``.
        """
        timeout = self._client.timeout or self._client.conf.rpc_response_timeout
        return self._request('call', ctxt, method, kwargs, timeout)

    def cast(self, ctxt: Any, method: str, **kwargs: Any) -> None:
        """Send a command and do not wait for it."""
        self._request('cast', ctxt, method, kwargs, callers.CAST_LIFETIME)

    def _request(
        self, send: str, ctxt: Any, method: str, kwargs: Any, lifetime: float
    ) -> Any:
        client, target = self._client, self.target
        serializer = client.serializer
        version = target.version or '1.0'
        if client.version_cap and not self.can_send_version():
            raise oslo_messaging.RPCVersionCapError(version, client.version_cap)
        route = client.prepare(
            namespace=callers.NAMESPACE, version=callers.VERSION, version_cap=None
        )
        # It has done its work when the command is sealed.
        route.serializer = oslo_messaging.NoOpSerializer()
        context = dict(serializer.serialize_context(ctxt))
        command_id = context.get(topics.CONTEXT_COMMAND_ID)
        try:
            result = self._sealer.request(
                sealer.instance_of(target.topic),
                (target.namespace, method, version),
                {
                    name: serializer.serialize_entity(ctxt, value)
                    for name, value in kwargs.items()
                },
                context,
                str(command_id)
                if topics.is_command_id(command_id)
                else uuid.uuid4().hex,
                waits=send == 'call',
                lifetime=lifetime,
                send=lambda args: _send(getattr(route, send), target.topic, args),
            )
        except sealer.Failure as failure:
            raise _stock_error(failure) from None
        return serializer.deserialize_entity(ctxt, result)


def wrap(
    client: oslo_messaging.RPCClient,
    key_file: str | None = None,
    key_command: str | None = None,
    caller: str = '',
) -> RPCClient:
    """Return a client of oslo.messaging that seals what it sends.

    :param client: of ``oslo_messaging.get_rpc_client``; its topics are those of guests.
    :param key_file: where the master keys are; without it, and without
        ``key_command``, the environment counts, then ``[seal]`` of the client's
        configuration.
    :param caller: the name of the key, where there are several.
    :raises guestagent.errors.ConfigError: there is no key.
    """
    found = sealer.configured(key_file, key_command, client.conf, caller)
    if found is None:
        raise errors.ConfigError(
            f'no key to seal with: give key_file, or set {sealer.KEY_FILE}'
        )
    return RPCClient(client, found)


def _send(send: Callable[..., Any], who: str, args: Mapping[str, str]) -> Any:
    try:
        return send({}, callers.METHOD, **args)
    except Exception as error:
        # The boundary to the other side: what it raised in plain has any class.
        if sealer.is_remote(error):
            raise sealer.not_sealed(who, error) from error
        raise


def _stock_error(failure: sealer.Failure) -> Exception:
    """Return what a stock client would have raised."""
    if failure.module == 'oslo_messaging.rpc.dispatcher':
        for kind in (oslo_messaging.NoSuchMethod, oslo_messaging.UnsupportedVersion):
            if kind.__name__ == failure.name:
                made: Exception = kind.__new__(kind)
                made.args = (failure.message,)
                return made
    return failure.revived() or oslo_messaging.RemoteError(
        failure.name, failure.message, failure.about.get('tb')
    )
