# SPDX-License-Identifier: Apache-2.0
"""The client against stock servers; its errors on a real bus are tested there."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest

from guestagent import client, errors
from guestagent.bus import topics

Serve = Callable[..., None]


class Guest:
    """Answers ``test.*``, and remembers the contexts that it was called with."""

    target = oslo_messaging.Target(namespace='test', version='1.2')

    def __init__(self) -> None:
        self.contexts: list[dict[str, Any]] = []
        self.busy = 0
        self.silent = 0
        self.release = threading.Event()

    def echo(self, ctxt: dict[str, Any], text: Any) -> Any:
        self.contexts.append(ctxt)
        if self.busy:
            self.busy -= 1
            raise errors.Busy('no worker is free')
        if len(self.contexts) <= self.silent:
            self.release.wait(30)
        return text

    def refuse(self, ctxt: dict[str, Any]) -> None:
        raise errors.Refused('not you')

    def crash(self, ctxt: dict[str, Any]) -> None:
        raise KeyError('gone')


class Ping:
    """As oslo.messaging's own endpoint with ``rpc_ping_enabled``."""

    def oslo_rpc_server_ping(self, ctxt: dict[str, Any]) -> str:
        return 'pong'


class ConductorStandIn:
    """Answers what a test has put into ``records``, in pages of two."""

    target = oslo_messaging.Target(namespace='conductor', version='1.0')

    def __init__(self) -> None:
        self.ids = [f'vm-{number}' for number in range(5)]
        self.records: list[dict[str, Any] | Exception] = []
        self.asked: list[dict[str, Any]] = []

    def instance_list(
        self,
        ctxt: dict[str, Any],
        limit: int,
        marker: str | None = None,
        state: str | None = None,
    ) -> dict[str, Any]:
        self.asked.append({'marker': marker, 'state': state})
        start = self.ids.index(marker) + 1 if marker else 0
        page = self.ids[start : start + 2]
        more = start + 2 < len(self.ids)
        return {
            'instances': [{'id': name} for name in page],
            'next': page[-1] if more else None,
        }

    def _answer(self, ctxt: dict[str, Any], **arguments: Any) -> Any:
        self.asked.append(arguments)
        answer = self.records.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    command_show = event_list = facts_get = _answer


@pytest.fixture
def guest(serve: Serve) -> Iterator[Guest]:
    endpoint = Guest()
    serve('guestagent.vm-1', endpoint, Ping())
    yield endpoint
    endpoint.release.set()


@pytest.fixture
def conductor(serve: Serve) -> ConductorStandIn:
    endpoint = ConductorStandIn()
    serve(topics.CONDUCTOR_TOPIC, endpoint)
    return endpoint


@pytest.fixture
def guests(exchange: str) -> Iterator[client.Client]:
    with client.Client(url='fake://', caller='tester', exchange=exchange) as made:
        yield made


def test_call_sends_identity_and_returns_the_result(
    guest: Guest, guests: client.Client
) -> None:
    result = guests.call(
        'vm-1',
        'test.echo',
        {'text': ['a', 1]},
        command_id='id-1',
        context={'request_id': 'r'},
    )

    assert result == ['a', 1]
    assert guest.contexts == [
        {
            'guestagent_caller': 'tester',
            'request_id': 'r',
            'guestagent_command_id': 'id-1',
        }
    ]


def test_each_command_gets_an_id_of_its_own(
    guest: Guest, guests: client.Client
) -> None:
    guests.call('vm-1', 'test.echo', {'text': 'a'})
    guests.call('vm-1', 'test.echo', {'text': 'a'})

    first, second = (context['guestagent_command_id'] for context in guest.contexts)
    assert first != second
    assert topics.is_command_id(first)
    assert topics.is_command_id(second)


def test_unanswered_call_is_repeated_with_the_same_id(
    guest: Guest, guests: client.Client
) -> None:
    guest.silent = 2

    result = guests.call(
        'vm-1', 'test.echo', {'text': 'a'}, timeout=60, attempt_timeout=0.3
    )

    assert result == 'a'
    ids = [context['guestagent_command_id'] for context in guest.contexts]
    assert len(ids) >= 3
    assert len(set(ids)) == 1


def test_busy_guest_is_asked_again_with_the_same_id(
    guest: Guest, guests: client.Client
) -> None:
    guest.busy = 2

    assert guests.call('vm-1', 'test.echo', {'text': 'a'}, timeout=60) == 'a'

    ids = [context['guestagent_command_id'] for context in guest.contexts]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_retries_are_the_limit(guest: Guest, guests: client.Client) -> None:
    guest.busy = 9

    with pytest.raises(errors.Busy):
        guests.call('vm-1', 'test.echo', {'text': 'a'}, retries=1)
    assert len(guest.contexts) == 2


def test_no_repeat_beyond_the_timeout(guest: Guest, guests: client.Client) -> None:
    guest.silent = 99
    start = time.monotonic()

    with pytest.raises(client.NoAnswer, match='vm-1') as caught:
        guests.call('vm-1', 'test.echo', {'text': 'a'}, timeout=0.7)

    assert 0.7 <= time.monotonic() - start < 60
    assert len(guest.contexts) <= 1
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('command', 'version', 'kind', 'text'),
    [
        ('test.refuse', '1.0', errors.Refused, 'not you'),
        ('test.crash', '1.0', errors.GuestError, 'KeyError'),
        ('test.nope', '1.0', errors.NoSuchMethod, 'nope'),
        ('test.echo', '1.3', errors.UnsupportedVersion, '1.3'),
        ('none.echo', '1.0', errors.UnsupportedVersion, '1.0'),
        ('test.echo', '1.0', errors.InvalidArgument, 'text'),
    ],
)
def test_errors_of_the_guest(
    guest: Guest,
    guests: client.Client,
    command: str,
    version: str,
    kind: type[Exception],
    text: str,
) -> None:
    with pytest.raises(kind, match=text) as caught:
        guests.call('vm-1', command, version=version)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    'arguments',
    [
        {'instance': 'a b', 'command': 'test.echo'},
        {'instance': 'vm-1', 'command': 'echo'},
        {'instance': 'vm-1', 'command': 'test.'},
        {'instance': 'vm-1', 'command': 'test.echo', 'version': '1'},
        {'instance': 'vm-1', 'command': 'test.echo', 'timeout': 0},
        {'instance': 'vm-1', 'command': 'test.echo', 'command_id': 'a b'},
        {'instance': 'vm-1', 'command': 'test.echo', 'arguments': {'method': 'GET'}},
    ],
)
def test_bad_requests_are_not_sent(
    guest: Guest, guests: client.Client, arguments: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument):
        guests.call(**arguments)
    assert guest.contexts == []


def test_ping(guest: Guest, guests: client.Client) -> None:
    assert 0 < guests.ping('vm-1', timeout=60) < 60


def test_wait_asks_until_there_is_an_outcome(
    guest: Guest, guests: client.Client, conductor: ConductorStandIn
) -> None:
    conductor.records = [
        errors.NoSuchInstance('not yet'),
        errors.NoSuchRecord('not yet'),
        {'outcome': 'done'},
    ]
    command_id = guests.cast('vm-1', 'test.echo', {'text': 'a'})

    assert guests.wait('vm-1', command_id, timeout=60) == {'outcome': 'done'}

    assert conductor.asked == 3 * [
        {'instance': 'vm-1', 'command_id': command_id, 'caller': 'tester'}
    ]


def test_wait_ends_without_an_outcome(
    guests: client.Client, conductor: ConductorStandIn
) -> None:
    conductor.records = [errors.NoSuchRecord('not yet') for _ in range(99)]

    with pytest.raises(client.NoAnswer):
        guests.wait('vm-1', 'id-1', timeout=0.5)
    assert len(conductor.records) < 99


def test_instances_come_page_after_page(
    guests: client.Client, conductor: ConductorStandIn
) -> None:
    found = list(guests.conductor.instances('UP', limit=2))

    assert [record['id'] for record in found] == conductor.ids
    assert conductor.asked == [
        {'marker': marker, 'state': 'UP'} for marker in (None, 'vm-1', 'vm-3')
    ]


def test_events_are_followed_over_a_restart(
    guests: client.Client, conductor: ConductorStandIn
) -> None:
    def page(*ids: int, more: bool = False) -> dict[str, Any]:
        return {
            'events': [{'id': number} for number in ids],
            'next': str(ids[-1]) if more else None,
        }

    conductor.records = [
        page(8, 9, more=True),
        page(11),
        errors.Transient('down'),
        errors.Transient('down'),
        page(9, 10, 11, 12),
    ]
    troubles: list[Any] = []
    found = guests.conductor.follow_events(
        'vm-1', 7, interval=0.01, trouble=troubles.append, type='a.*'
    )

    assert [event['id'] for event in itertools.islice(found, 5)] == [8, 9, 11, 10, 12]

    assert [arguments['after'] for arguments in conductor.asked] == [7, '9', 7, 7, 7]
    assert {arguments['type'] for arguments in conductor.asked} == {'a.*'}
    assert [str(error) for error in troubles] == ['down', 'None']


def test_following_does_not_begin_without_a_conductor(
    guests: client.Client, conductor: ConductorStandIn
) -> None:
    conductor.records = [errors.Transient('down') for _ in range(2)]

    with pytest.raises(errors.Transient):
        guests.conductor.follow_events()
    with pytest.raises(errors.Transient):
        guests.conductor.follow_facts('vm-1')


def test_following_ends_with_the_instance(
    guests: client.Client, conductor: ConductorStandIn
) -> None:
    conductor.records = [
        {'facts': {'a': {'value': 1, 'updated': 't0'}}},
        errors.Transient('down'),
        {'facts': {'b': {'value': 2, 'updated': 't1'}}},
        errors.NoSuchInstance('gone'),
    ]
    found = guests.conductor.follow_facts('vm-1', interval=0.01)

    assert list(itertools.islice(found, 3)) == [
        {'key': 'a', 'change': 'known', 'value': 1, 'updated': 't0'},
        {'key': 'a', 'change': 'removed', 'value': 1, 'updated': None},
        {'key': 'b', 'change': 'new', 'value': 2, 'updated': 't1'},
    ]
    with pytest.raises(errors.NoSuchInstance):
        next(found)


def test_no_conductor() -> None:
    with (
        client.Client(url='fake://', timeout=0.2) as made,
        pytest.raises(client.NoAnswer, match='guestagent-conductor'),
    ):
        made.conductor.facts_get('vm-1')


@pytest.mark.parametrize(
    'url', ['nothing://secret@host', 'host:5672', 'rabbit://user:secret@host:port/']
)
def test_wrong_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(errors.ConfigError, match='transport URL') as caught:
        client.Client(url=url)
    assert 'secret' not in str(caught.value)


def test_a_transport_that_was_given_is_left_alone(
    guest: Guest, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client.Client(url='fake://') as owner:
        transport = owner._bus._transport
        cleaned = []
        monkeypatch.setattr(transport, 'cleanup', lambda: cleaned.append(True))

        with client.Client(transport, exchange=exchange) as made:
            assert made.call('vm-1', 'test.echo', {'text': 1}, timeout=60) == 1
        assert cleaned == []
    assert cleaned == [True]


def test_pauses_double_up_to_the_last() -> None:
    taken = list(itertools.islice(client.pauses(0.1, 0.5), 8))

    for pause, most in zip(
        taken, [0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5], strict=True
    ):
        assert most * 0.6 <= pause <= most
