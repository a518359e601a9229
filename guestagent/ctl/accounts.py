# SPDX-License-Identifier: Apache-2.0
"""What guests have on RabbitMQ: accounts, rights, limits, queues (doc/enrolment.rst).

All is made such that it may be made once more.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from typing import Any

from guestagent import errors
from guestagent.bus import topics, url
from guestagent.ctl import rabbitmq
from guestagent.enroll import exchange

#: A guest has one; another is there for a while when it connects anew.
GUEST_CONNECTIONS, GUEST_CHANNELS = 3, 12
#: Of all who have nothing but a token.
TOKEN_CONNECTIONS, TOKEN_CHANNELS = 100, 200
#: The expression that no name matches.
NOTHING = '^$'


@dataclasses.dataclass(frozen=True)
class Settings:
    """How guests are enrolled; the options of ``[enroll]``.

    :ivar vhost_users: who has all rights in the virtual hosts of guests.
    """

    model: str
    guest_url: str
    token_url: str
    queue_length: int
    vhost_users: list[str]
    control_exchange: str = topics.CONTROL_EXCHANGE
    report_topic: str = topics.REPORT_TOPIC


def make_token_account(api: rabbitmq.Api, settings: Settings) -> None:
    """Make the account of who has nothing but a token, or make it so again.

    It may ask to have a token exchanged, on an exchange that serves nothing else, and
    read what is answered to it.

    :raises guestagent.errors.ConfigError: ``token_url`` names an account that does
        more than that.
    """
    where = url.parse(settings.token_url)
    user, vhost = where.brokers[0].username, where.virtual_host
    taken = {api.user, url.parse(settings.guest_url).brokers[0].username}
    there = api.get('users', user)
    if user in taken or (there is not None and there.get('tags') not in ('', [])):
        raise errors.ConfigError(
            f'[enroll] token_url: the account {user!r} is one that does other things, '
            f'and everybody who sees a token would have it: name one of its own'
        )
    account = Account(api, user, vhost)
    account.make(where.brokers[0].password)
    reply = f'^{exchange.REPLY_QUEUE}[0-9a-f]{{32}}$'
    account.allow(reply, f'^{exchange.TOPIC}$', reply)
    account.allow_keys(exchange.TOPIC, f'^{exchange.TOPIC}$')
    account.limit(TOKEN_CONNECTIONS, TOKEN_CHANNELS)
    policy(
        *(api, vhost, 'guestagent.enroll', f'^{exchange.TOPIC}'),
        {'max-length': 1000, 'message-ttl': 60000, 'overflow': 'reject-publish'},
    )
    policy(
        *(api, vhost, 'guestagent.enroll-replies', f'^{exchange.REPLY_QUEUE}'),
        {'max-length': 10, 'expires': 60000},
    )


class Account:
    """A user of the broker, in one virtual host."""

    def __init__(self, api: rabbitmq.Api, user: str, vhost: str) -> None:
        self._api = api
        self._user = user
        self._vhost = vhost

    def make(self, password: str | None) -> None:
        """Make it, or give it another password; ``None``: it logs in by certificate."""
        hashed = '' if password is None else rabbitmq.password_hash(password)
        self._api.put(
            *('users', self._user),
            password_hash=hashed,
            hashing_algorithm='rabbit_password_hashing_sha256',
            tags='',
        )

    def allow(self, configure: str, write: str, read: str) -> None:
        """Set its rights: expressions for the names of queues and exchanges."""
        self._api.put(
            *('permissions', self._vhost, self._user),
            configure=configure,
            write=write,
            read=read,
        )

    def allow_keys(self, topic_exchange: str, write: str) -> None:
        """Set with which keys it may publish to an exchange; it may bind to none."""
        self._api.put(
            *('topic-permissions', self._vhost, self._user),
            exchange=topic_exchange,
            write=write,
            read=NOTHING,
        )

    def limit(self, connections: int, channels: int) -> None:
        """Limit how many connections and channels it has."""
        path = ('user-limits', self._user)
        self._api.put(*path, 'max-connections', value=connections)
        self._api.put(*path, 'max-channels', value=channels)


def policy(
    api: rabbitmq.Api, vhost: str, name: str, pattern: str, definition: dict[str, Any]
) -> None:
    """Set what holds for the queues with such names."""
    api.put(
        *('policies', vhost, name),
        pattern=pattern,
        definition=definition,
        priority=10,
        **{'apply-to': 'queues'},
    )


def new_password() -> str:
    """Return one that nobody can guess."""
    return secrets.token_urlsafe(32)


def remove(api: rabbitmq.Api, settings: Settings, instance: str) -> list[str]:
    """Take from a guest all that it has of its own; return what that was.

    The broker closes its connections at once.
    """
    name = topics.request_topic(instance)
    shared = url.parse(settings.guest_url).virtual_host
    found = {
        'its account': api.delete('users', name),
        'its virtual host': api.delete('vhosts', name),
        'its queue': api.delete('queues', shared, name),
    }
    return [what for what, was_there in found.items() if was_there]


def exactly(*names: str) -> str:
    """Return the expression that only these names match."""
    return f'^({"|".join(re.escape(name) for name in names)})$'
