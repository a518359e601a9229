# SPDX-License-Identifier: Apache-2.0
"""What keeps guests apart on RabbitMQ: one class for each model (doc/enrolment.rst)."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from guestagent import errors
from guestagent.bus import topics, url
from guestagent.conf import enroll
from guestagent.ctl import accounts, rabbitmq

#: In the virtual host of a guest: of callers, conductors and the guest.
VHOST_CONNECTIONS, VHOST_QUEUES = 64, 256
#: How many bytes may wait in a queue of a guest.
QUEUE_BYTES = 64 * 1024 * 1024

_ALL = '.*'


class Model(Protocol):
    """Where a guest is on the broker, and as whom.

    :cvar is_own: whether it has an account of its own.
    """

    is_own: bool

    def __init__(self, api: rabbitmq.Api, settings: accounts.Settings) -> None: ...

    def prepare(self, instance: str, password: str | None) -> None:
        """Make what a guest needs; ``None``: it logs in by certificate."""

    def url(self, instance: str, password: str | None) -> str:
        """Return the guest's transport URL."""

    def vhost(self, instance: str) -> str:
        """Return its virtual host; ``''``: one that it shares."""


class Shared:
    """All guests have one account: nothing is made."""

    is_own = False

    def __init__(self, api: rabbitmq.Api, settings: accounts.Settings) -> None:
        self._settings = settings

    def prepare(self, instance: str, password: str | None) -> None:
        """See :class:`Model`."""

    def url(self, instance: str, password: str | None) -> str:
        """See :class:`Model`."""
        return self._settings.guest_url

    def vhost(self, instance: str) -> str:
        """See :class:`Model`."""
        return ''


class _Own:
    """Each guest has an account, of the name of its queue."""

    is_own = True

    def __init__(self, api: rabbitmq.Api, settings: accounts.Settings) -> None:
        self._api = api
        self._settings = settings
        self._shared = url.parse(settings.guest_url)

    def url(self, instance: str, password: str | None) -> str:
        """See :class:`Model`."""
        user = topics.request_topic(instance)
        brokers = tuple(
            dataclasses.replace(broker, username=user, password=password or '')
            for broker in self._shared.brokers
        )
        query = {**self._shared.query, **self._options()}
        if password is None:
            if query.get('ssl', '').lower() not in ('1', 'true', 'yes', 'on'):
                raise errors.ConfigError(
                    '[enroll] guest_url: a certificate is of no use without ssl=1 and '
                    'ssl_ca_file=... in its query'
                )
            query['rabbit_login_method'] = 'EXTERNAL'
        vhost = self.vhost(instance) or self._shared.virtual_host
        return url.write(url.Url(brokers, vhost, query))

    def vhost(self, instance: str) -> str:
        """See :class:`Model`."""
        return ''

    def _options(self) -> dict[str, str]:
        return {}

    def _limits(self) -> dict[str, Any]:
        """Return what bounds the queues of a guest."""
        return {
            'max-length': self._settings.queue_length,
            'max-length-bytes': QUEUE_BYTES,
            'overflow': 'reject-publish',
        }


class Exchange(_Own):
    """It may take from its queue, reply, and report; it may make nothing.

    Replies need the right to write to the default exchange, which leads to each queue.
    """

    def prepare(self, instance: str, password: str | None) -> None:
        """See :class:`Model`."""
        vhost, reports = self._shared.virtual_host, self._settings.report_topic
        queue = topics.request_topic(instance)
        self._make_queue(vhost, queue, instance)
        account = accounts.Account(self._api, queue, vhost)
        account.make(password)
        account.limit(accounts.GUEST_CONNECTIONS, accounts.GUEST_CHANNELS)
        account.allow_keys(reports, accounts.exactly(topics.report_queue(reports)))
        account.allow(
            accounts.NOTHING,
            accounts.exactly('amq.default', reports),
            accounts.exactly(queue),
        )

    def _options(self) -> dict[str, str]:
        return {'declare': 'false'}

    def _make_queue(self, vhost: str, queue: str, instance: str) -> None:
        """Make what the guest may not: its queue, and where it reports to."""
        control = self._settings.control_exchange
        self._make_exchange(vhost, control)
        self._make_exchange(vhost, self._settings.report_topic)
        # The dot keeps it away from the conductor's queue.
        accounts.policy(
            self._api, vhost, 'guestagent.guests', r'^guestagent\.', self._limits()
        )
        self._api.put('queues', vhost, queue, durable=True)
        for key in (queue, f'{queue}.{instance}'):
            self._api.post(
                *('bindings', vhost, 'e', control, 'q', queue), routing_key=key
            )

    def _make_exchange(self, vhost: str, name: str) -> None:
        there = self._api.get('exchanges', vhost, name)
        if there is None:
            self._api.put('exchanges', vhost, name, type='topic', durable=True)
        elif not there['durable']:
            raise errors.Refused(
                f'the exchange {name!r} is not durable, and a guest that may not '
                f'declare it would be lost with the broker: set amqp_durable_queues in '
                f'the control planes and the conductor, and delete the exchange'
            )


class Vhost(_Own):
    """It is alone in a virtual host, in which it may do all."""

    def prepare(self, instance: str, password: str | None) -> None:
        """See :class:`Model`."""
        api, name = self._api, topics.request_topic(instance)
        api.put('vhosts', name)
        api.put('vhost-limits', name, 'max-connections', value=VHOST_CONNECTIONS)
        api.put('vhost-limits', name, 'max-queues', value=VHOST_QUEUES)
        accounts.policy(api, name, 'guestagent', _ALL, self._limits())
        for user in self._settings.vhost_users:
            accounts.Account(api, user, name).allow(_ALL, _ALL, _ALL)
        account = accounts.Account(api, name, name)
        account.make(password)
        account.limit(accounts.GUEST_CONNECTIONS, accounts.GUEST_CHANNELS)
        account.allow(_ALL, _ALL, _ALL)

    def vhost(self, instance: str) -> str:
        """See :class:`Model`."""
        return topics.request_topic(instance)


#: The models by their names.
MODELS: dict[str, type[Model]] = {
    enroll.SHARED: Shared,
    enroll.EXCHANGE: Exchange,
    enroll.VHOST: Vhost,
}
