# SPDX-License-Identifier: Apache-2.0
"""What the conductor knows, asked over the bus.

Part of :mod:`guestagent.client`, which opens the bus and is what programs import.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from guestagent import errors, follow, rpc
from guestagent.bus import topics
from guestagent.enroll import operator

Record = dict[str, Any]
#: Called with the error when the conductor stops answering, and with ``None`` when it
#: answers again.
Trouble = Callable[[errors.Transient | None], None]

#: How long one of many questions may take, in seconds, before it is asked again.
_SOON = 5.0
#: How many events are asked for at once when they are followed.
_PAGE = 200


class Conductor:
    """What the conductor knows; methods are named as on the wire (doc/conductor.rst).

    All raise :class:`guestagent.client.NoAnswer` when no conductor answers,
    :class:`guestagent.client.BusError` when the bus cannot be reached,
    :class:`guestagent.errors.InvalidArgument` for an argument that makes no sense and,
    where an instance is named, :class:`guestagent.errors.NoSuchInstance`.  Times are
    texts, ISO 8601 in UTC.

    :param timeout: seconds for an answer.
    """

    def __init__(self, bus: rpc.Bus, timeout: float) -> None:
        self._bus = bus
        self._timeout = timeout

    def within(self, seconds: float) -> 'Conductor':
        """Return the same conductor, given at most ``seconds`` for an answer."""
        return Conductor(self._bus, min(self._timeout, seconds))

    def instance_list(
        self,
        state: str | None = None,
        marker: str | None = None,
        limit: int = 1000,
        **filters: Any,
    ) -> Record:
        """Return a page: ``{'instances': [...], 'next': <marker> or None}``.

        :param filters: ``name``, ``extension``, ``agent_version``, ``conflict``.
        """
        return self._call(
            'instance_list', state=state, marker=marker, limit=limit, **filters
        )

    def instances(
        self, state: str | None = None, limit: int = 1000, **filters: Any
    ) -> Iterator[Record]:
        """Return all instances that are so, page after page."""
        return _pages(
            'instances',
            lambda marker: self.instance_list(state, marker, limit, **filters),
        )

    def instance_show(self, instance: str) -> Record:
        """Return an instance with its extensions, by name."""
        return self._call('instance_show', instance=instance)

    def instance_delete(self, instance: str, force: bool = False) -> Record:
        """Have an instance forgotten with all its records.

        :returns: ``{'deleted': <instance>, 'state': <the state that it had>}``
        :raises guestagent.errors.Refused: it is UP, and ``force`` is not given.
        """
        return self._call('instance_delete', instance=instance, force=force)

    def operate(self, value: str) -> str:
        """Have the conductor do what an operator has sealed; return its answer.

        :raises guestagent.errors.ConfigError: it has no keys.
        """
        try:
            answer = self._call(
                operator.METHOD, namespace=operator.NAMESPACE, value=value
            )
        except errors.UnsupportedVersion:
            raise errors.ConfigError(
                'the conductor has no keys ([seal] key_file), so it enrols nobody'
            ) from None
        return str(answer)

    def facts_get(self, instance: str, prefix: str | None = None) -> Record:
        """Return ``{'facts': {<key>: {'value': ..., 'updated': <time>}}}``."""
        return self._call('facts_get', instance=instance, prefix=prefix)

    def series_get(
        self,
        instance: str,
        prefix: str,
        since: str | float | None = None,
        until: str | float | None = None,
    ) -> Record:
        """Return ``{'series': {<name>: [[<UNIX seconds>, <number>], ...]}}``.

        :param prefix: the name of a fact, or of a part of it.
        :param since: a time as ISO 8601 or UNIX seconds; an hour ago unless given.
        """
        return self._call(
            'series_get', instance=instance, prefix=prefix, since=since, until=until
        )

    def follow_facts(
        self,
        instance: str,
        prefix: str | None = None,
        interval: float = 1.0,
        trouble: Trouble = lambda error: None,
    ) -> Iterator[Record]:
        """Return the facts, and then without end what changes; it asks every
        ``interval`` seconds, and goes on when the conductor was away for a while.

        :returns: as :func:`guestagent.follow.changes`; at first all is ``'known'``.
        :raises guestagent.errors.NoSuchInstance: also when it is deleted later.
        """
        facts = self.facts_get(instance, prefix)['facts']
        soon = self.within(_SOON)
        ask = functools.partial(soon.facts_get, instance, prefix)
        return _follow_facts(facts, ask, interval, trouble)

    def command_show(
        self, instance: str, command_id: str, caller: str | None = None
    ) -> Record:
        """Return the outcome of a command that was reported.

        :raises guestagent.errors.NoSuchRecord: none was, or not yet.
        """
        return self._call(
            'command_show', instance=instance, command_id=command_id, caller=caller
        )

    def command_list(
        self,
        instance: str | None = None,
        marker: str | None = None,
        limit: int = 100,
        **filters: Any,
    ) -> Record:
        """Return a page: ``{'commands': [...], 'next': <marker> or None}``.

        :param filters: ``caller``, ``command``, ``outcome``, ``since``, ``until``.
        """
        return self._call(
            'command_list', instance=instance, marker=marker, limit=limit, **filters
        )

    def commands(
        self, instance: str | None = None, limit: int = 100, **filters: Any
    ) -> Iterator[Record]:
        """Return all outcomes that are so, the newest first, page after page."""
        return _pages(
            'commands',
            lambda marker: self.command_list(instance, marker, limit, **filters),
        )

    def event_list(
        self,
        instance: str | None = None,
        after: str | int | None = None,
        limit: int = 100,
        **filters: Any,
    ) -> Record:
        """Return a page: ``{'events': [...], 'next': <after> or None}``.

        :param filters: ``type``, ``since``, ``until``, ``newest``.
        """
        return self._call(
            'event_list', instance=instance, after=after, limit=limit, **filters
        )

    def events(
        self,
        instance: str | None = None,
        after: str | int | None = None,
        limit: int = 100,
        **filters: Any,
    ) -> Iterator[Record]:
        """Return the events after one with this id, the oldest first, page after page.

        :param instance: only those of this instance.
        """
        return _pages(
            'events',
            lambda marker: self.event_list(instance, marker, limit, **filters),
            after,
        )

    def follow_events(
        self,
        instance: str | None = None,
        after: int = 0,
        interval: float = 1.0,
        trouble: Trouble = lambda error: None,
        **filters: Any,
    ) -> Iterator[Record]:
        """Return the events after one with this id, and then each that comes.

        It asks every ``interval`` seconds, goes on when the conductor was away for a
        while, and misses none where several conductors write.  An event that became
        visible late comes late, so ids may be out of order.

        :raises guestagent.errors.NoSuchInstance: also when it is deleted later.
        """
        cursor = follow.Cursor(after)
        page = self.event_list(
            instance, cursor.begin(time.monotonic()), _PAGE, **filters
        )
        soon = self.within(_SOON)

        def ask(marker: str | int) -> Record:
            return soon.event_list(instance, marker, _PAGE, **filters)

        return _follow_events(cursor, page, ask, interval, trouble)

    def audit_heads(self, instance: str) -> Iterator[Record]:
        """Return where the instance's audit log ended, the oldest first.

        :raises guestagent.errors.NoSuchInstance: there is no such instance.
        """
        return _pages(
            'heads',
            lambda marker: self._call('audit_heads', instance=instance, after=marker),
        )

    def _call(
        self, method: str, namespace: str = topics.CONDUCTOR_NAMESPACE, **arguments: Any
    ) -> Any:
        target = {
            'topic': topics.CONDUCTOR_TOPIC,
            'version': '1.0',
            'namespace': namespace,
            'timeout': self._timeout,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            return self._bus.request('the conductor', 'call', target, {}, method, given)
        except rpc.Unrouted:
            raise rpc.NoAnswer(
                f'no conductor on this bus (exchange {self._bus.exchange!r}): start '
                'guestagent-conductor, or check the exchange'
            ) from None
        except rpc.NoAnswer as error:
            raise rpc.NoAnswer(
                f'the conductor did not answer within {self._timeout:.3g} s: see that '
                'guestagent-conductor runs'
            ) from error


def _pages(
    name: str, fetch: Callable[[Any], Record], marker: str | int | None = None
) -> Iterator[Record]:
    """Return the items of all pages; ``fetch`` takes the marker of the one before."""
    while True:
        page = fetch(marker)
        yield from page[name]
        marker = page['next']
        if marker is None:
            return


def _follow_facts(
    facts: Record, ask: Callable[[], Record], interval: float, trouble: Trouble
) -> Iterator[Record]:
    for key in sorted(facts):
        yield {'key': key, 'change': 'known', **facts[key]}
    while True:
        time.sleep(interval)
        found = _keep_asking(ask, trouble)['facts']
        yield from follow.changes(facts, found)
        facts = found


def _follow_events(
    cursor: follow.Cursor,
    page: Record,
    ask: Callable[[str | int], Record],
    interval: float,
    trouble: Trouble,
) -> Iterator[Record]:
    while True:
        for event in page['events']:
            if cursor.take(event['id'], time.monotonic()):
                yield event
        marker = page['next']
        if marker is None:
            cursor.end()
            time.sleep(interval)
            marker = cursor.begin(time.monotonic())
        page = _keep_asking(functools.partial(ask, marker), trouble)


def _keep_asking(ask: Callable[[], Record], trouble: Trouble) -> Record:
    """Return what ``ask`` returns, as often as it takes; say when it takes longer."""
    waits = rpc.pauses(0.5, 5)
    troubled = False
    while True:
        try:
            answer = ask()
        except errors.Transient as error:
            if not troubled:
                trouble(error)
            troubled = True
        else:
            if troubled:
                trouble(None)
            return answer
        time.sleep(next(waits))
