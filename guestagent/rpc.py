# SPDX-License-Identifier: Apache-2.0
"""Requests over a stock oslo.messaging transport, whose errors are this project's.

What :mod:`guestagent.client` stands on.  The agent never imports this module.
"""

import contextlib
import importlib
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import amqp
import oslo_messaging
from kombu import exceptions as kombu_exceptions
from oslo_config import cfg

from guestagent import errors

#: oslo.messaging reads these groups from every configuration, but registers them
#: only on the global one.
_LIBRARY_OPTIONS = {
    'oslo_messaging_metrics': 'oslo_messaging._metrics.client',
    'oslo_messaging_tracing': 'oslo_messaging._tracing.client',
}

#: The modules of errors that may come back as what they are; builtins always may.
_REMOTE_MODULES = ['guestagent.errors', 'oslo_messaging.rpc.dispatcher']

#: What the library says of a broker, and what that means.
_MEANINGS = (
    ('Login was refused', 'it refuses the user or the password'),
    (
        'WRONG_VERSION_NUMBER',
        'what answers speaks no TLS; is this the port for it (5671 as a rule)?',
    ),
    (
        'Connection reset by peer',
        'it broke the connection off; does its port want TLS (ssl = true)?',
    ),
)
#: The place and the number of an error of AMQP.
_AMQP_PREFIX = re.compile(r'^(?:\S+: )?(?:\(0, 0\): )?\(\d+\) (?=[A-Z_]+ - )')

_BUS_FAILURES = (
    oslo_messaging.MessageDeliveryFailure,
    oslo_messaging.ClientSendError,
    kombu_exceptions.KombuError,
    amqp.AMQPError,
)

#: Names of arguments that oslo.messaging's own client cannot send.
_TAKEN = frozenset({'self', 'ctxt', 'method'})


class NoAnswer(errors.Transient):
    """Nobody answered in time; nobody knows whether the command ran."""

    code = 'no-answer'


class BusError(errors.Transient):
    """The bus cannot be reached, or does not let this client in."""

    code = 'bus'


class NoSuchGuest(errors.NoSuchInstance):
    """The bus has no queue of this guest: its agent has never connected."""


class Unrouted(Exception):
    """The bus has no queue for this topic."""


def pauses(first: float, last: float) -> Iterator[float]:
    """Return seconds to wait that double from ``first`` to ``last``, less a random
    share, so that many who wait for one thing do not come at once."""
    while True:
        yield first * random.uniform(0.6, 1)
        first = min(first * 2, last)


class Bus:
    """An oslo.messaging transport, and requests over it whose errors are ours.

    :param transport: an RPC transport to use; it stays the caller's to clean up.
    :param url: a transport URL; without it ``transport_url`` of ``conf`` counts.
    :param conf: a configuration; without it a private one with all defaults.
    :param retries: how often a connection to the bus is tried again.
    :raises guestagent.errors.ConfigError: the URL is wrong.
    """

    def __init__(
        self,
        transport: oslo_messaging.Transport | None,
        url: str | None,
        conf: cfg.ConfigOpts | None,
        exchange: str,
        retries: int,
    ) -> None:
        self.exchange = exchange
        self._own = transport is None
        self._where = ''
        if transport is None:
            transport, self._where = _open_transport(url, conf)
        self._transport = transport
        self._client = oslo_messaging.get_rpc_client(
            self._transport, oslo_messaging.Target(exchange=exchange), retry=retries
        )
        self._tried = False

    def request(
        self,
        who: str,
        send: Literal['call', 'cast'],
        target: Mapping[str, Any],
        context: Mapping[str, Any],
        method: str,
        arguments: Mapping[str, Any],
    ) -> Any:
        """Send one request; return the result of a call, ``None`` for a cast.

        :param who: what messages call the other side.
        :param target: what ``RPCClient.prepare`` takes.
        :raises BusError: the bus cannot be reached.
        :raises NoAnswer: it was sent, and the time for a reply is over.
        :raises Unrouted: nobody has ever listened on the topic.
        :raises guestagent.errors.GuestAgentError: what the other side raised.
        """
        taken = sorted(_TAKEN & arguments.keys())
        if taken:
            raise errors.InvalidArgument(
                f'argument {taken[0]!r}: oslo.messaging cannot send this name'
            )
        try:
            self._try_connection()
            prepared = self._client.prepare(
                **target,
                transport_options=oslo_messaging.TransportOptions(at_least_once=True),
            )
            return getattr(prepared, send)(dict(context), method, **arguments)
        except oslo_messaging.MessagingTimeout as error:
            raise NoAnswer(f'{who} did not answer in time') from error
        except oslo_messaging.MessageUndeliverable as error:
            raise Unrouted(who) from error
        except _BUS_FAILURES as error:
            raise BusError(
                f'cannot use the message bus{self._where}: {_meaning(error)}'
            ) from error
        except Exception as error:
            # The boundary to the other side: what its code raised has any class.
            raise _remote_error(who, error, method, target.get('version')) from error

    def close(self) -> None:
        """Close the connections, if the transport was opened here."""
        if self._own:
            self._transport.cleanup()

    def _try_connection(self) -> None:
        """Send to nobody, once: a call opens the connection for its reply first, and
        tries that for ever when the bus is down, whereas a cast gives up."""
        if not self._tried:
            self._client.prepare(topic='guestagent-nobody').cast({}, 'hello')
            self._tried = True


def _meaning(error: BaseException) -> str:
    """Return why the broker is of no use, in one line."""
    text = _one_line(error)
    for sign, meaning in _MEANINGS:
        if sign in text:
            return meaning
    return _AMQP_PREFIX.sub('', text)


def _one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or else the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _remote_error(
    who: str, error: Exception, method: str, version: object
) -> errors.GuestAgentError:
    """Return what the other side raised as one of our errors.

    The library raises it as a class of its own making, with the remote traceback in
    its text; that stays readable as the cause of what is returned here.
    """
    if isinstance(error, oslo_messaging.NoSuchMethod):
        return errors.NoSuchMethod(method)
    if isinstance(error, oslo_messaging.UnsupportedVersion):
        return errors.UnsupportedVersion(version, method)
    name = type(error).__name__.removesuffix('_Remote')
    if isinstance(error, errors.GuestAgentError):
        known: type[errors.GuestAgentError] = getattr(errors, name)
        return known(*error.args)
    if isinstance(error, oslo_messaging.RemoteError):
        return errors.GuestError(f'{who} failed: {error.exc_type}: {error.value}')
    if isinstance(error, TypeError):
        return errors.InvalidArgument(_one_line(error))
    return errors.GuestError(f'{who} failed: {name}: {_one_line(error)}')


def _open_transport(
    url: str | None, conf: cfg.ConfigOpts | None
) -> tuple[oslo_messaging.Transport, str]:
    """Return an RPC transport, and where it leads; it connects when it is used.

    :raises guestagent.errors.ConfigError: the URL is wrong.
    """
    if conf is None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
    for group, module in _LIBRARY_OPTIONS.items():
        # Each came with another version of the library.
        with contextlib.suppress(ImportError):
            conf.register_opts(getattr(importlib.import_module(module), group), group)
    try:
        parsed = oslo_messaging.TransportURL.parse(conf, url)
        transport = oslo_messaging.get_rpc_transport(
            conf, parsed, allowed_remote_exmods=_REMOTE_MODULES
        )
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
        ValueError,
    ) as error:
        # Not the URL itself: there is a password in it.
        raise errors.ConfigError(
            f'transport URL: {_one_line(error)}; write it as '
            'rabbit://user:password@host:port/vhost'
        ) from error
    hosts = ', '.join(
        f'{host.hostname}:{host.port}' if host.port else str(host.hostname)
        for host in parsed.hosts
    )
    return transport, f' at {hosts}' if hosts else ''
