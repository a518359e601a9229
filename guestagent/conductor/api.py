# SPDX-License-Identifier: Apache-2.0
"""What the conductor answers: the methods of doc/conductor.rst.

Arguments come from anyone on the bus: each is checked before it reaches the database.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import oslo_messaging
import sqlalchemy.exc

from guestagent import errors
from guestagent.bus import topics
from guestagent.conductor import state as states
from guestagent.conductor.db import engine, points, queries, removal

LOG = logging.getLogger(__name__)

#: The largest page that an answer holds.
LIMIT = 1000

Record: TypeAlias = dict[str, Any]
Context: TypeAlias = Mapping[str, Any]

#: How a command may have ended (doc/wire.rst, section 6).
OUTCOMES = ('done', 'failed', 'interrupted', 'withheld')

_NUMBER = re.compile(r'[0-9]{1,18}\Z')
#: In UNIX seconds; beyond it a number is no time.
_END_OF_TIME = 1e11


def _query(method: Callable[..., Record]) -> Callable[..., Record]:
    """Let a method's errors reach the caller as what they are, and not as crashes."""
    signature = inspect.signature(method)

    @oslo_messaging.expected_exceptions(errors.GuestAgentError)
    @functools.wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Record:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.InvalidArgument(f'{method.__name__}: {error}') from None
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

    :param changes: whether it changes anything for who asks in plain.
    """

    target = oslo_messaging.Target(namespace=topics.CONDUCTOR_NAMESPACE, version='1.0')

    def __init__(self, database: engine.Database, changes: bool = True) -> None:
        self._database = database
        self._changes = changes

    @_query
    def instance_list(
        self,
        context: Context,
        state: str | None = None,
        marker: str | None = None,
        limit: int = LIMIT,
        name: str | None = None,
        extension: str | None = None,
        agent_version: str | None = None,
        conflict: bool | None = None,
    ) -> Record:
        """Return a page of instances, by id: those that are as what is given says.

        ``name`` is a pattern: ``*`` is any text, ``?`` one character; ``conflict``
        says whether two agents have this id.
        """
        if state is not None and state not in states.STATES:
            raise errors.InvalidArgument(
                f'state {state!r}: it must be one of {", ".join(states.STATES)}'
            )
        found = queries.instances(
            self._database,
            state,
            _optional('marker', marker),
            _limit(limit),
            name=_optional('name', name),
            extension=_optional('extension', extension),
            agent_version=_optional('agent_version', agent_version),
            conflict=None if conflict is None else _flag('conflict', conflict),
        )
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
    def instance_delete(
        self, context: Context, instance: str, force: bool = False
    ) -> Record:
        """Forget an instance with its facts, outcomes and events.

        :raises guestagent.errors.Refused: it is UP, and ``force`` was not given.
        :raises guestagent.errors.Forbidden: only operators may do this here.
        """
        if not self._changes:
            raise errors.Forbidden(
                'this conductor has keys, and forgets instances only for an operator '
                'who has them: set [enroll] key_files for guestctl'
            )
        return forget(self._database, instance, force)

    @_query
    def facts_get(
        self, context: Context, instance: str, prefix: str | None = None
    ) -> Record:
        """Return an instance's facts, those whose key begins with ``prefix``."""
        found = queries.facts(
            self._database, _instance(instance), _optional('prefix', prefix) or ''
        )
        return {'facts': found if found is not None else _no_instance(instance)}

    @_query
    def series_get(
        self,
        context: Context,
        instance: str,
        prefix: str,
        since: str | float | None = None,
        until: str | float | None = None,
    ) -> Record:
        """Return numbers of facts as they were, and became, by the name of the series.

        Those whose name is ``prefix``, or begins with it and a dot: ``{series: {name:
        [[UNIX seconds, number], ...]}}``.  The last hour unless ``since`` says more.
        """
        name, begin = _instance(instance), _text('prefix', prefix)
        end, start = _moment('until', until), _moment('since', since)
        end = time.time() if end is None else end
        if not queries.exists(self._database, name):
            return _no_instance(name)
        start = end - 3600 if start is None else start
        try:
            found = points.read(self._database, name, begin, start, end)
        except points.TooMany:
            raise errors.InvalidArgument(
                f'since: there are more than {points.READ_MAX} points in this time; '
                f'ask for less of it, or for fewer series'
            ) from None
        return {'series': found}

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
        found = queries.command(
            self._database, _instance(instance), command_id, _optional('caller', caller)
        )
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
        instance: str | None = None,
        marker: str | int | None = None,
        limit: int = 100,
        caller: str | None = None,
        command: str | None = None,
        outcome: str | None = None,
        since: str | float | None = None,
        until: str | float | None = None,
    ) -> Record:
        """Return a page of outcomes, the newest first, of one instance or of all.

        ``command`` is a pattern; times are those at which they were received.
        """
        if instance is not None:
            _instance(instance)
        if outcome is not None and outcome not in OUTCOMES:
            raise errors.InvalidArgument(
                f'outcome {outcome!r:.100}: it must be one of {", ".join(OUTCOMES)}'
            )
        found = queries.commands(
            self._database,
            instance,
            _position('marker', marker),
            _limit(limit),
            caller=_optional('caller', caller),
            command=_optional('command', command),
            outcome=outcome,
            since=_moment('since', since),
            until=_moment('until', until),
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
        type: str | None = None,
        since: str | float | None = None,
        until: str | float | None = None,
        newest: bool = False,
    ) -> Record:
        """Return a page of events, the oldest first, of one instance or of all.

        ``type`` is a pattern; times are those at which they were received.  With
        ``newest`` the page is the last one, and no other follows.
        """
        if instance is not None:
            _instance(instance)
        found = queries.events(
            self._database,
            instance,
            _position('after', after),
            _limit(limit),
            kind=_optional('type', type),
            since=_moment('since', since),
            until=_moment('until', until),
            newest=_flag('newest', newest),
        )
        if found is None:
            return _no_instance(instance)
        more = len(found) == limit and not newest
        return {'events': found, 'next': str(found[-1]['id']) if more else None}

    @_query
    def audit_heads(
        self,
        context: Context,
        instance: str,
        after: str | int | None = None,
        limit: int = LIMIT,
    ) -> Record:
        """Return a page of where the instance's audit log ended, the oldest first."""
        found = queries.audit_heads(
            self._database,
            _instance(instance),
            _position('after', after),
            _limit(limit),
        )
        if found is None:
            return _no_instance(instance)
        return {
            'heads': [head for _, head in found],
            'next': str(found[-1][0]) if len(found) == limit else None,
        }


def forget(database: engine.Database, instance: str, force: bool) -> Record:
    """Forget an instance, for whoever may say so.

    :raises: as :meth:`Queries.instance_delete`, and what the database raises.
    """
    state = removal.delete_instance(
        database, _instance(instance), time.time(), _flag('force', force)
    )
    if state is None:
        return _no_instance(instance)
    if state == states.UP and not force:
        raise errors.Refused(
            f'instance {instance!r} is UP and would come back with its next '
            'report: stop its agent first, or force it'
        )
    LOG.info('instance %s, which was %s, is deleted', instance, state)
    return {'deleted': instance, 'state': state}


def _no_instance(instance: str | None) -> Record:
    raise errors.NoSuchInstance(
        f'instance {instance!r}: the conductor has no report of it'
    )


def _text(name: str, value: object) -> str:
    # NUL and half a surrogate pair are refused by one database or another.
    if not isinstance(value, str) or len(value) > 255 or not value.isprintable():
        raise errors.InvalidArgument(
            f'{name} {value!r:.100}: it must be text of at most 255 printable '
            f'characters'
        )
    return value


def _optional(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise errors.InvalidArgument(f'{name} {value!r:.100}: it must be true or false')
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


def _moment(name: str, value: object) -> float | None:
    """Return a time as UNIX seconds; on the wire also ISO 8601, UTC if it says none."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            moment = datetime.datetime.fromisoformat(value)
            zone = moment.tzinfo or datetime.UTC
            return moment.replace(tzinfo=zone).timestamp()
        except (ValueError, OverflowError):
            pass
    elif (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < _END_OF_TIME
    ):
        return float(value)
    raise errors.InvalidArgument(
        f'{name} {value!r:.100}: it must be a time as 2024-05-01T12:00:00Z, or UNIX '
        'seconds'
    )
