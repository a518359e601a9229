# SPDX-License-Identifier: Apache-2.0
"""What the conductor answers: the methods of doc/conductor.rst.

Arguments come from anyone on the bus: each is checked before it reaches the database.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import oslo_messaging
import sqlalchemy.exc

from guestagent import errors
from guestagent.bus import topics
from guestagent.conductor import state as states
from guestagent.conductor.db import engine, queries

LOG = logging.getLogger(__name__)

#: The largest page that an answer holds.
LIMIT = 1000

Record: TypeAlias = dict[str, Any]
Context: TypeAlias = Mapping[str, Any]

_NUMBER = re.compile(r'[0-9]{1,18}\Z')


def _query(method: Callable[..., Record]) -> Callable[..., Record]:
    """Let a method's errors reach the caller as what they are, and not as crashes."""

    @oslo_messaging.expected_exceptions(errors.GuestAgentError)
    @functools.wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Record:
        try:
            return method(*args, **kwargs)
        except sqlalchemy.exc.SQLAlchemyError as error:
            LOG.error('a query failed, the database: %s', engine.explain(error))
            raise errors.Transient(
                'the conductor cannot read its database at the moment; its log says why'
            ) from None

    return answer


class Queries:
    """The RPC endpoint; called on several threads at once.

    All methods raise :class:`guestagent.errors.InvalidArgument` for an argument that
    makes no sense, :class:`guestagent.errors.NoSuchInstance` where an instance is named
    that is not known, and :class:`guestagent.errors.Transient` when the database fails.
    """

    target = oslo_messaging.Target(namespace=topics.CONDUCTOR_NAMESPACE, version='1.0')

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    @_query
    def instance_list(
        self,
        context: Context,
        state: str | None = None,
        marker: str | None = None,
        limit: int = LIMIT,
    ) -> Record:
        """Return a page of instances, by id, in one state if that is given."""
        if state is not None and state not in states.STATES:
            raise errors.InvalidArgument(
                f'state {state!r}: it must be one of {", ".join(states.STATES)}'
            )
        if marker is not None:
            _text('marker', marker)
        found = queries.instances(self._database, state, marker, _limit(limit))
        return {
            'instances': found,
            'next': found[-1]['id'] if len(found) == limit else None,
        }

    @_query
    def instance_show(self, context: Context, instance: str) -> Record:
        """Return all that is known about an instance but its facts."""
        found = queries.instance(self._database, _instance(instance))
        return found if found is not None else _no_instance(instance)

    @_query
    def facts_get(
        self, context: Context, instance: str, prefix: str | None = None
    ) -> Record:
        """Return an instance's facts, those whose key begins with ``prefix``."""
        if prefix is not None:
            _text('prefix', prefix)
        found = queries.facts(self._database, _instance(instance), prefix or '')
        return {'facts': found if found is not None else _no_instance(instance)}

    @_query
    def command_show(
        self,
        context: Context,
        instance: str,
        command_id: str,
        caller: str | None = None,
    ) -> Record:
        """Return the outcome of one command.

        :raises guestagent.errors.NoSuchRecord: none was reported, or not yet.
        """
        if not topics.is_command_id(command_id):
            raise errors.InvalidArgument(
                f'command_id {command_id!r:.100}: it must be 1 to 64 of '
                f'A-Z a-z 0-9 _ . -'
            )
        if caller is not None:
            _text('caller', caller)
        found = queries.command(self._database, _instance(instance), command_id, caller)
        if found is not None:
            return found
        if not queries.exists(self._database, instance):
            _no_instance(instance)
        of = '' if caller is None else f' of caller {caller!r}'
        raise errors.NoSuchRecord(
            f'instance {instance!r} has reported no outcome of command '
            f'{command_id!r}{of}: it may still run, or was answered to its caller'
        )

    @_query
    def command_list(
        self,
        context: Context,
        instance: str,
        marker: str | int | None = None,
        limit: int = 100,
    ) -> Record:
        """Return a page of outcomes, the newest first."""
        found = queries.commands(
            self._database,
            _instance(instance),
            _position('marker', marker),
            _limit(limit),
        )
        if found is None:
            return _no_instance(instance)
        return {
            'commands': [record for _, record in found],
            'next': str(found[-1][0]) if len(found) == limit else None,
        }

    @_query
    def event_list(
        self,
        context: Context,
        instance: str | None = None,
        after: str | int | None = None,
        limit: int = 100,
    ) -> Record:
        """Return a page of events, the oldest first, of one instance or of all."""
        if instance is not None:
            _instance(instance)
        found = queries.events(
            self._database, instance, _position('after', after), _limit(limit)
        )
        if found is None:
            return _no_instance(instance)
        return {
            'events': found,
            'next': str(found[-1]['id']) if len(found) == limit else None,
        }


def _no_instance(instance: str | None) -> Record:
    raise errors.NoSuchInstance(
        f'instance {instance!r}: the conductor has never had a report of it'
    )


def _text(name: str, value: object) -> str:
    # NUL and half a surrogate pair are refused by one database or another.
    if not isinstance(value, str) or len(value) > 255 or not value.isprintable():
        raise errors.InvalidArgument(
            f'{name} {value!r:.100}: it must be text of at most 255 printable '
            f'characters'
        )
    return value


def _instance(value: object) -> str:
    return topics.check_instance_id(_text('instance', value))


def _limit(value: object) -> int:
    if type(value) is not int or not 1 <= value <= LIMIT:
        raise errors.InvalidArgument(
            f'limit {value!r:.100}: it must be an integer from 1 to {LIMIT}'
        )
    return value


def _position(name: str, value: object) -> int | None:
    """Return a place in a list; on the wire it is a text or an integer."""
    if value is None:
        return None
    if isinstance(value, bool) or not _NUMBER.match(str(value)):
        raise errors.InvalidArgument(
            f'{name} {value!r:.100}: it must be the id of a record, or what "next" of '
            f'the page before says'
        )
    return int(str(value))
