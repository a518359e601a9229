# SPDX-License-Identifier: Apache-2.0
"""``transport_url`` as oslo.messaging writes it, taken apart; no I/O."""

from __future__ import annotations

import dataclasses
import functools
import urllib.parse

from guestagent import errors

_SCHEMES = ('rabbit', 'kombu+rabbit', 'amqp')


@dataclasses.dataclass(frozen=True)
class Broker:
    """One host of the broker, and the account there."""

    hostname: str
    port: int
    username: str
    password: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        host = f'[{self.hostname}]' if ':' in self.hostname else self.hostname
        return f'{host}:{self.port}'


@dataclasses.dataclass(frozen=True)
class Url:
    """Brokers in the order of the URL, one virtual host, and the query's options."""

    brokers: tuple[Broker, ...]
    virtual_host: str
    query: dict[str, str]


def parse(text: str, default_port: int = 5672) -> Url:
    """Return ``text`` (``rabbit://user:password@host:port,…/vhost?key=value``) parsed.

    :raises guestagent.errors.ConfigError: it is no such URL; the message holds no
        password.
    """
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in _SCHEMES:
        raise errors.ConfigError(
            f'transport_url: scheme {parts.scheme!r} is not known; this agent takes '
            f'rabbit://user:password@host:port/vhost or channel:///folder'
        )
    username, password = 'guest', 'guest'
    brokers = []
    for number, host in enumerate(parts.netloc.split(','), 1):
        broker = _parse_host(host, number, default_port, username, password)
        # As oslo.messaging does: a host without an account takes the one before it.
        username, password = broker.username, broker.password
        brokers.append(broker)
    virtual_host = urllib.parse.unquote(parts.path[1:]) or '/'
    query = dict(urllib.parse.parse_qsl(parts.query))
    return Url(tuple(brokers), virtual_host, query)


def write(where: Url) -> str:
    """Return the text that :func:`parse` makes this of; it holds the passwords."""
    quote = functools.partial(urllib.parse.quote, safe='')
    hosts = ','.join(
        f'{quote(broker.username)}:{quote(broker.password)}@{broker}'
        for broker in where.brokers
    )
    query = f'?{urllib.parse.urlencode(where.query)}' if where.query else ''
    return f'rabbit://{hosts}/{quote(where.virtual_host)}{query}'


def _parse_host(
    text: str, number: int, default_port: int, username: str, password: str
) -> Broker:
    account, at, address = text.rpartition('@')
    if at:
        username, _, password = account.partition(':')
        username = urllib.parse.unquote(username)
        password = urllib.parse.unquote(password)
    hostname, port = address, ''
    if address.startswith('['):
        hostname, bracket, rest = address[1:].partition(']')
        port = rest[1:] if rest.startswith(':') else rest
        if not bracket:
            hostname = ''
    elif ':' in address:
        hostname, _, port = address.rpartition(':')
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise errors.ConfigError(
            f'transport_url: host number {number} has port {port!r}; it must be '
            f'1 to 65535'
        )
    return Broker(
        hostname or 'localhost', int(port) if port else default_port, username, password
    )
