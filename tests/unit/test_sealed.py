# SPDX-License-Identifier: Apache-2.0
"""The caller's side against a guest that opens and seals, on the fake driver."""

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging._drivers import common

from guestagent import client, errors, sealed, sealer
from guestagent.seal import guest, keys, window

NOVA = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))
TROVE = keys.Line(keys.COMMANDS, 'trove', True, os.urandom(32))


class Guest:
    """Opens as a guest does, and answers what a test has put into ``answers``."""

    target = oslo_messaging.Target(namespace='sealed', version='1.0')

    def __init__(self) -> None:
        self.guest = guest.Guest(
            'vm-1',
            keys.GuestRing([NOVA.derive('vm-1'), TROVE.derive('vm-1')]),
            window.Limits(86400_000, 300_000),
        )
        self.ahead = 0.0
        self.commands: list[Any] = []
        self.answer: Any = 'done'

    def invoke(self, ctxt: dict[str, Any], value: str) -> Any:
        now = int((time.time() + self.ahead) * 1000)
        opened = self.guest.open(value, now)
        if opened.refusal is not None:
            return opened.reply(None, opened.refusal, 10**6)
        self.commands.append(opened.command)
        if isinstance(self.answer, Plain):
            return self.answer.answer()
        if isinstance(self.answer, Exception):
            return opened.reply(None, self.answer, 10**6)
        return opened.reply(self.answer, None, 10**6)


class Plain:
    """An answer that goes out as it is."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def answer(self) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def write(path: pathlib.Path, *lines: keys.Line) -> str:
    path.write_text(''.join(f'{line}\n' for line in lines))
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def key_file(tmp_path: pathlib.Path) -> str:
    return write(tmp_path / 'keys', NOVA)


@pytest.fixture
def vm(serve: Callable[..., None]) -> Guest:
    made = Guest()
    serve('guestagent.vm-1', made)
    return made


@pytest.fixture
def transport() -> oslo_messaging.Transport:
    cfg.CONF([], default_config_files=[], default_config_dirs=[])
    return oslo_messaging.get_rpc_transport(
        cfg.CONF,
        'fake://',
        allowed_remote_exmods=['guestagent.errors', 'oslo_messaging.rpc.dispatcher'],
    )


@pytest.fixture
def guests(
    vm: Guest, transport: oslo_messaging.Transport, exchange: str, key_file: str
) -> client.Client:
    return client.Client(transport, exchange=exchange, key_file=key_file)


@pytest.fixture
def stock(
    vm: Guest, transport: oslo_messaging.Transport, exchange: str, key_file: str
) -> sealed.RPCClient:
    target = oslo_messaging.Target(
        exchange=exchange, topic='guestagent.vm-1', namespace='exec', version='1.0'
    )
    plain = oslo_messaging.get_rpc_client(transport, target, timeout=20)
    return sealed.wrap(plain, key_file=key_file)


def test_what_is_inside_is_what_was_asked(vm: Guest, guests: client.Client) -> None:
    result = guests.call(
        'vm-1',
        'exec.run',
        {'argv': ['id'], 'method': 'oslo.messaging cannot send this name in plain'},
        version='1.1',
        command_id='c-1',
        context={'user': 'x'},
    )

    assert result == 'done'
    (command,) = vm.commands
    assert command.caller == guests.caller == 'nova'
    assert command[1:8] == (
        'vm-1',
        'exec',
        'run',
        '1.1',
        {'argv': ['id'], 'method': 'oslo.messaging cannot send this name in plain'},
        {'user': 'x'},
        'c-1',
    )
    assert command.waits


@pytest.mark.parametrize(
    ('answer', 'kind', 'text'),
    [
        (errors.Refused('not you'), errors.Refused, 'not you'),
        (errors.NoSuchMethod('run'), errors.NoSuchMethod, 'method run'),
        (TypeError('no such argument'), errors.InvalidArgument, 'no such argument'),
        (KeyError('gone'), errors.GuestError, "guest 'vm-1' failed: KeyError"),
        (Plain('forged'), errors.NotSealed, 'not its own'),
        (Plain(errors.Refused('forged')), errors.NotSealed, 'without a seal.*forged'),
        (Plain(KeyError('forged')), errors.NotSealed, 'without a seal.*forged'),
    ],
)
def test_what_went_wrong_is_raised_and_believed_only_if_it_is_sealed(
    vm: Guest, guests: client.Client, answer: Any, kind: type, text: str
) -> None:
    vm.answer = answer
    with pytest.raises(kind, match=text) as caught:
        guests.call('vm-1', 'exec.run', retries=0)
    assert type(caught.value) is kind


def test_a_guest_without_keys_is_told_of(
    serve: Callable[..., None],
    transport: oslo_messaging.Transport,
    exchange: str,
    key_file: str,
) -> None:
    serve('guestagent.vm-2', object())
    with (
        client.Client(transport, exchange=exchange, key_file=key_file) as guests,
        pytest.raises(errors.NotSealed, match='has the guest got its keys'),
    ):
        guests.call('vm-2', 'exec.run')


def test_the_guest_s_clock_is_learned_once(vm: Guest, guests: client.Client) -> None:
    vm.ahead = 7200
    for number in range(3):
        assert guests.call('vm-1', 'exec.run', command_id=f'c-{number}') == 'done'
    stamps = [command.stamp / 1000 - time.time() for command in vm.commands]
    assert [round(stamp / 600) for stamp in stamps] == [12, 12, 12]


def test_a_cast_ends_when_it_was_told_to(vm: Guest, guests: client.Client) -> None:
    guests.cast('vm-1', 'exec.run', lifetime=100)
    until = time.monotonic() + 30
    while not vm.commands and time.monotonic() < until:
        time.sleep(0.01)
    (command,) = vm.commands
    assert not command.waits
    assert command.expiry - command.stamp == 100_000


def test_a_stock_client_keeps_its_ways(vm: Guest, stock: sealed.RPCClient) -> None:
    assert stock.call({'user': 'x'}, 'run', argv=['id']) == 'done'
    other = stock.prepare(namespace='file', version='1.3', timeout=60)
    assert other.call({}, 'read', path='/x') == 'done'
    first, second = vm.commands
    assert first[2:7] == ('exec', 'run', '1.0', {'argv': ['id']}, {'user': 'x'})
    assert second[2:6] == ('file', 'read', '1.3', {'path': '/x'})
    assert second.expiry - second.stamp == 360_000


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        (errors.Refused('not you'), errors.Refused),
        (errors.NoSuchMethod('run'), oslo_messaging.NoSuchMethod),
        (ValueError('x'), ValueError),
        (cfg.NoSuchOptError('x'), oslo_messaging.RemoteError),
        (Plain('forged'), errors.NotSealed),
        (Plain(ValueError('forged')), errors.NotSealed),
        (Plain(cfg.NoSuchOptError('forged')), errors.NotSealed),
    ],
)
def test_a_stock_client_raises_what_it_would_have(
    vm: Guest, stock: sealed.RPCClient, answer: Any, kind: type
) -> None:
    vm.answer = answer
    with pytest.raises(kind) as caught:
        stock.call({}, 'run')
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ('error', 'remote'),
    [
        (ValueError('x'), True),
        (errors.Refused('x'), True),
        (cfg.NoSuchOptError('x'), True),
        (oslo_messaging.NoSuchMethod('x'), True),
        (None, False),
    ],
)
def test_what_came_in_plain_is_known(error: Exception | None, remote: bool) -> None:
    """As a real driver gives it back; the fake one has it raised as it is."""
    came: Exception = oslo_messaging.MessagingTimeout('x')
    if error is not None:
        failure = common.serialize_remote_exception((type(error), error, None))
        allowed = ['guestagent.errors', 'oslo_messaging.rpc.dispatcher']
        came = common.deserialize_remote_exception(failure, allowed)
    assert sealer.is_remote(came) is remote


class Upper(oslo_messaging.NoOpSerializer):
    """A serializer whose work shows."""

    def serialize_context(self, ctxt: Any) -> dict[str, Any]:
        return {'user': ctxt.upper()}

    def serialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return entity.upper()

    def deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return entity.title()


def test_the_serializer_of_a_stock_client_sees_what_is_inside(
    vm: Guest, transport: oslo_messaging.Transport, exchange: str, key_file: str
) -> None:
    target = oslo_messaging.Target(exchange=exchange, topic='guestagent.vm-1')
    plain = oslo_messaging.get_rpc_client(transport, target, serializer=Upper())
    assert sealed.wrap(plain, key_file).call('me', 'run', text='x') == 'Done'
    assert (vm.commands[0].context, vm.commands[0].args) == (
        {'user': 'ME'},
        {'text': 'X'},
    )


def test_a_topic_of_no_guest_is_refused(
    transport: oslo_messaging.Transport, key_file: str
) -> None:
    target = oslo_messaging.Target(topic='compute.vm-1')
    plain = oslo_messaging.get_rpc_client(transport, target)
    with pytest.raises(errors.InvalidArgument, match='not that of a guest'):
        sealed.wrap(plain, key_file).call({}, 'run')
    with pytest.raises(errors.ConfigError, match='no key to seal with'):
        sealed.wrap(plain)


def test_keys_are_read_again_when_the_file_has_changed(
    monkeypatch: pytest.MonkeyPatch, vm: Guest, guests: client.Client, key_file: str
) -> None:
    monkeypatch.setattr(sealer, '_LOOK', 0)
    guests.call('vm-1', 'exec.run')
    new = NOVA._replace(secret=os.urandom(32))
    vm.guest.ring = keys.GuestRing([new.derive('vm-1')])
    write(pathlib.Path(key_file), NOVA, new)
    assert guests.call('vm-1', 'exec.run') == 'done'
    # A file without a key of this caller changes nothing, and says so.
    write(pathlib.Path(key_file), TROVE)
    with pytest.raises(errors.ConfigError, match="no key of caller 'nova'"):
        guests.call('vm-1', 'exec.run')
    write(pathlib.Path(key_file), new)
    assert guests.call('vm-1', 'exec.run') == 'done'


def test_where_keys_come_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, key_file: str
) -> None:
    both = write(tmp_path / 'both', NOVA, TROVE)
    config = tmp_path / 'nova.conf'
    config.write_text(f'[seal]\nkey_file = {both}\n')
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(config)], default_config_dirs=[])

    assert sealer.configured() is None
    assert sealer.configured(key_file='', conf=conf) is None
    with pytest.raises(errors.ConfigError, match='choose one of nova, trove'):
        sealer.configured(conf=conf)
    found = sealer.configured(conf=conf, name='trove')
    assert found is not None
    assert found.name == 'trove'
    monkeypatch.setenv('GUESTAGENT_KEY_COMMAND', f'cat {key_file}')
    found = sealer.configured(conf=conf)
    assert found is not None
    assert found.name == 'nova'
    with pytest.raises(errors.ConfigError, match='no key of caller'):
        sealer.configured(key_file=key_file, name='trove')
    os.chmod(key_file, 0o644)
    with pytest.raises(errors.ConfigError, match='chmod 600'):
        sealer.configured(key_file=key_file)
