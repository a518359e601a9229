# SPDX-License-Identifier: Apache-2.0
"""Sealed commands on a real broker, and somebody there who reads and writes all."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import oslo_messaging
import pytest

from devstack import processes, stack
from guestagent import client, errors, sealed
from guestagent.bus import envelope
from guestagent.seal import guest, keys, window
from tests.functional import raw, reports

pytestmark = pytest.mark.functional

LIBFAKETIME = pathlib.Path('/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1')

NOVA = keys.Line(keys.COMMANDS, 'nova', True, os.urandom(32))


def write(path: pathlib.Path, *lines: keys.Line) -> str:
    path.write_text(''.join(f'{line}\n' for line in lines))
    path.chmod(0o600)
    return str(path)


@dataclasses.dataclass
class Bed:
    """Keys of guests and of their caller; the guests; what they did."""

    folder: pathlib.Path
    start: Callable[..., stack.Agent]

    def __post_init__(self) -> None:
        self.caller_keys = write(self.folder / 'nova.keys', NOVA)

    def guest_keys(self, name: str) -> pathlib.Path:
        return self.folder / f'{name}.keys'

    def agent(self, name: str = 'vm-1', **options: Any) -> stack.Agent:
        path = self.guest_keys(name)
        if not path.exists():
            write(path, NOVA.derive(name))
        section = {'key_file': path, **options}
        return self.start(name, {'seal': section}, extensions='exec,probe,monitoring')

    @property
    def marks(self) -> list[str]:
        path = self.folder / 'marks'
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def bed(tmp_path: pathlib.Path, agent: Callable[..., stack.Agent]) -> Bed:
    return Bed(tmp_path, agent)


@pytest.fixture
def guests(bed: Bed, bus_url: str) -> Iterator[client.Client]:
    with client.Client(url=bus_url, key_file=bed.caller_keys) as made:
        yield made


class Tap(raw.RawClient):
    """Gets a copy of all requests to a guest, and can send them again."""

    def listen(self, instance: str) -> None:
        self.channel.queue_declare('tap', auto_delete=False)
        self.channel.queue_bind('tap', 'guestagent', f'guestagent.{instance}')

    def recorded(self) -> list[str]:
        """Return the bodies that came since it was asked last."""
        found = []
        while (message := self.channel.basic_get('tap', no_ack=True)) is not None:
            found.append(message.body)
        return found

    def replay(self, instance: str, body: str) -> None:
        """Send a request again, as a new sending whose reply comes here."""
        message = json.loads(json.loads(body)['oslo.message'])
        message.update(_unique_id=os.urandom(16).hex(), _msg_id='again')
        message['_reply_q'] = self.reply_queue
        self.send(f'guestagent.{instance}', message)

    def nothing_came(self, guests: client.Client, instance: str) -> bool:
        """Whether nothing did, until after another command was answered."""
        guests.call(instance, 'probe.echo', {'value': 1}, timeout=60)
        return self.receive(0.5) is None


@pytest.fixture
def tap(bus_url: str) -> Iterator[Tap]:
    with Tap(bus_url) as made:
        yield made


def test_client_guestctl_and_a_stock_client_seal(
    bed: Bed,
    guests: client.Client,
    bus_url: str,
    stock_client: Callable[..., oslo_messaging.RPCClient],
) -> None:
    bed.agent()

    seen = guests.call('vm-1', 'probe.seen', command_id='c-1', context={'user': 'x'})
    assert (seen['caller'], seen['id']) == ('nova', 'c-1')
    assert seen['values'] == {'user': 'x'}
    assert guests.ping('vm-1', timeout=60) < 60
    assert guests.caller == 'nova'

    def guestctl(*arguments: str) -> Any:
        return stack.guestctl(bus_url, '--key-file', bed.caller_keys, *arguments)

    done = guestctl('exec', 'vm-1', '--', 'sh', '-c', 'echo out; exit 3')
    assert (done.stdout, done.returncode) == ('out\n', 3), done.stderr
    assert guestctl('ping', 'vm-1').returncode == 0

    plain = stock_client('vm-1', namespace='probe', version='1.0', timeout=2)
    stock = sealed.wrap(plain, key_file=bed.caller_keys)
    stock = stock.prepare(timeout=60)
    assert stock.call({'user': 'y'}, 'seen')['values'] == {'user': 'y'}
    stock.cast({}, 'mark', text='cast')
    with pytest.raises(TypeError, match='nope'):
        stock.call({}, 'echo', nope=1)
    with pytest.raises(oslo_messaging.NoSuchMethod):
        stock.call({}, 'nope')
    with pytest.raises(oslo_messaging.UnsupportedVersion):
        stock.prepare(version='7.0').call({}, 'echo')
    with pytest.raises(oslo_messaging.MessagingTimeout):
        plain.call({}, 'echo')


def test_errors_are_those_of_a_plain_guest(bed: Bed, guests: client.Client) -> None:
    bed.agent()

    for command, arguments, kind in (
        ('agent.describe', {'extension': 'nope'}, errors.NoSuchRecord),
        ('agent.describe', {'extension': 1}, errors.InvalidArgument),
        ('agent.nope', {}, errors.NoSuchMethod),
        ('nope.nope', {}, errors.UnsupportedVersion),
    ):
        with pytest.raises(kind) as caught:
            guests.call('vm-1', command, arguments)
        assert type(caught.value) is kind
    guests.call('vm-1', 'probe.mark', {'text': 'once'}, command_id='id-1')
    with pytest.raises(errors.IdReused):
        guests.call('vm-1', 'probe.mark', {'text': 'twice'}, command_id='id-1')
    assert guests.call('vm-1', 'probe.mark', {'text': 'once'}, command_id='id-1') == 1
    assert bed.marks == ['once']


def test_who_has_no_key_or_another_gets_no_answer(
    bed: Bed, guests: client.Client, bus_url: str, tap: Tap
) -> None:
    child = bed.agent()
    stranger = NOVA._replace(secret=os.urandom(32))
    other = write(bed.folder / 'other.keys', stranger)

    with client.Client(url=bus_url, caller='nova', key_file='') as plain:
        with pytest.raises(client.NoAnswer, match='take only what is sealed'):
            plain.ping('vm-1', timeout=1)
        plain.cast('vm-1', 'probe.mark', {'text': 'plain'})
    with client.Client(url=bus_url, key_file=other) as wrong:
        with pytest.raises(client.NoAnswer, match="valid key of 'nova'"):
            wrong.ping('vm-1', timeout=1)
        wrong.cast('vm-1', 'probe.mark', {'text': 'wrong'})
    tap.send('guestagent.vm-1', {'namespace': 'sealed', 'method': 'invoke', 'args': 7})

    assert tap.nothing_came(guests, 'vm-1')
    assert bed.marks == []
    child.wait_line('a request got no answer: it is not sealed')
    child.wait_line('a request got no answer: it is sealed with no key')


def test_what_was_recorded_is_worth_nothing(
    bed: Bed, guests: client.Client, tap: Tap
) -> None:
    bed.agent()
    tap.listen('vm-1')
    guests.call('vm-1', 'probe.mark', {'text': 'called'})
    guests.cast('vm-1', 'probe.mark', {'text': 'cast'})
    guests.call('vm-1', 'probe.echo')
    bodies = tap.recorded()
    assert len(bodies) == 3
    assert not any('mark' in body or 'called' in body for body in bodies)

    for body in bodies:
        tap.replay('vm-1', body)

    assert tap.nothing_came(guests, 'vm-1')
    assert sorted(bed.marks) == ['called', 'cast']


@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGKILL])
def test_nor_is_it_after_a_restart(
    bed: Bed, guests: client.Client, tap: Tap, end: int
) -> None:
    first = bed.agent()
    tap.listen('vm-1')
    guests.call('vm-1', 'probe.mark', {'text': 'called'})
    guests.cast('vm-1', 'probe.mark', {'text': 'cast'})
    guests.call('vm-1', 'probe.echo')
    bodies = tap.recorded()
    os.kill(first.pid, end)
    first.wait_end()

    bed.agent()
    for body in bodies:
        tap.replay('vm-1', body)

    assert tap.nothing_came(guests, 'vm-1')
    assert sorted(bed.marks) == ['called', 'cast']


def test_nor_is_it_for_another_guest(bed: Bed, guests: client.Client, tap: Tap) -> None:
    bed.agent('vm-1')
    bed.agent('vm-2')
    tap.listen('vm-1')
    guests.call('vm-1', 'probe.mark', {'text': 'vm-1'})

    tap.replay('vm-2', tap.recorded()[0])

    assert tap.nothing_came(guests, 'vm-2')
    assert bed.marks == ['vm-1']


def test_commands_that_waited_for_the_agent_run(
    bed: Bed, guests: client.Client
) -> None:
    first = bed.agent()
    first.stop()
    guests.cast('vm-1', 'probe.mark', {'text': 'waited'})
    answers: list[Any] = []
    caller = threading.Thread(
        target=lambda: answers.append(
            guests.call('vm-1', 'probe.mark', {'text': 'sealed-anew'}, timeout=180)
        )
    )
    caller.start()
    time.sleep(0.2)

    bed.agent()
    caller.join()

    assert answers
    assert sorted(bed.marks) == ['sealed-anew', 'waited']


@pytest.mark.skipif(not LIBFAKETIME.exists(), reason='faketime is not installed')
@pytest.mark.parametrize('apart', ['+1d', '-1d'])
def test_a_guest_with_a_wrong_clock_is_commanded_and_not_by_what_was_recorded(
    bed: Bed,
    guests: client.Client,
    tap: Tap,
    monkeypatch: pytest.MonkeyPatch,
    apart: str,
) -> None:
    for name, value in (
        ('LD_PRELOAD', str(LIBFAKETIME)),
        ('FAKETIME', apart),
        ('FAKETIME_DONT_FAKE_MONOTONIC', '1'),
    ):
        monkeypatch.setenv(name, value)
    bed.agent()
    monkeypatch.undo()
    tap.listen('vm-1')

    guests.call('vm-1', 'probe.mark', {'text': 'once'})

    refused, taken = tap.recorded()
    guests.call('vm-1', 'probe.echo')
    assert len(tap.recorded()) == 1  # it has learned
    tap.replay('vm-1', taken)
    assert tap.nothing_came(guests, 'vm-1')
    tap.replay('vm-1', refused)
    # A refusal, sealed for who has asked.
    assert tap.receive(60)['failure'] is None
    assert bed.marks == ['once']


@pytest.mark.skipif(not LIBFAKETIME.exists(), reason='faketime is not installed')
def test_an_hour_later_it_is_worth_nothing_whatever_has_happened_since(
    bed: Bed, guests: client.Client, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = bed.folder / 'clock'
    clock.write_text('+0')

    def start() -> stack.Agent:
        with monkeypatch.context() as patch:
            patch.setenv('LD_PRELOAD', str(LIBFAKETIME))
            patch.setenv('FAKETIME_TIMESTAMP_FILE', str(clock))
            patch.setenv('FAKETIME_NO_CACHE', '1')
            patch.setenv('FAKETIME_DONT_FAKE_MONOTONIC', '1')
            return bed.agent()

    def check() -> None:
        for body in bodies:
            tap.replay('vm-1', body)
        # What may answer the first is a refusal, for who has the key.
        guests.call('vm-1', 'probe.echo', {'value': 1}, timeout=60)
        assert sorted(bed.marks) == ['called', 'cast']

    first = start()
    first.stop()
    before = bed.folder / 'before'
    shutil.copytree(first.state, before)
    first = start()
    tap.listen('vm-1')
    guests.call('vm-1', 'probe.mark', {'text': 'called'})
    calls = tap.recorded()
    guests.cast('vm-1', 'probe.mark', {'text': 'cast'})
    first.wait_for(lambda: len(bed.marks) == 2, 'both have run')
    bodies = [*calls, *tap.recorded()]

    clock.write_text('+1h')
    check()
    first.kill()
    second = start()
    started = time.mktime(time.strptime(second.output()[:19], '%Y-%m-%d %H:%M:%S'))
    assert started > time.time() + 1800, 'libfaketime has no effect'
    check()
    # and when its clock is set back
    clock.write_text('+0')
    check()
    # A disk of before the conversation knows nothing of it; calls are too old for it.
    second.kill()
    shutil.rmtree(second.state)
    shutil.copytree(before, second.state)
    bodies = calls
    clock.write_text('+1h')
    start()
    check()


def test_keys_rotate_while_everything_runs(bed: Bed, guests: client.Client) -> None:
    child = bed.agent()
    new = NOVA._replace(secret=os.urandom(32))
    path = bed.guest_keys('vm-1')
    failed: list[BaseException] = []
    begun = 0.0
    stop = threading.Event()

    def keep_calling() -> None:
        nonlocal begun
        while not stop.is_set():
            begins = time.monotonic()
            try:
                guests.call('vm-1', 'probe.echo', timeout=120, retries=0)
            except errors.GuestAgentError as error:
                failed.append(error)
            begun = begins

    caller = threading.Thread(target=keep_calling)
    caller.start()
    try:
        old = NOVA.derive('vm-1')
        write(path, old, new.derive('vm-1'))
        os.kill(child.pid, signal.SIGHUP)
        child.wait_line('the keys were read again')
        write(pathlib.Path(bed.caller_keys), NOVA, new)
        # The client looks once a second, when it is called.
        written = time.monotonic()
        processes.wait_for(lambda: begun > written + 1.1, 'a call with the new key')
        write(path, new.derive('vm-1'))
        os.kill(child.pid, signal.SIGHUP)
        child.wait_for(
            lambda: child.output().count('the keys were read again') == 2,
            'the keys were read again',
        )
        guests.call('vm-1', 'probe.echo', timeout=60)
    finally:
        stop.set()
        caller.join()
    assert not failed


def test_forged_signs_of_life_win_no_more_than_the_callers_timeout(
    bed: Bed, guests: client.Client, tap: Tap
) -> None:
    bed.agent()  # so that there is an exchange
    tap.channel.queue_declare('guestagent.vm-x', auto_delete=False)
    tap.channel.queue_bind('guestagent.vm-x', 'guestagent', 'guestagent.vm-x')
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            guests.call('vm-x', 'probe.echo', timeout=4, call_monitor_timeout=2)
        except errors.GuestAgentError as error:
            caught.append(error)

    began = time.monotonic()
    caller = threading.Thread(target=ask)
    caller.start()
    # Given a broker that keeps a command to itself, and says that it goes on and on,
    taken = processes.wait_for(
        lambda: tap.channel.basic_get('guestagent.vm-x', no_ack=True), 'it was sent'
    )
    asked = json.loads(json.loads(taken.body)['oslo.message'])
    while caller.is_alive() and time.monotonic() - began < 60:
        life = envelope.sign_of_life(asked['_msg_id'])
        tap.channel.basic_publish(amqp.Message(life), '', asked['_reply_q'])
        caller.join(0.3)
    # then the caller has waited as long as it would have without them.
    assert [type(error) for error in caught] == [client.NoAnswer]
    assert time.monotonic() - began >= 4


REPORTS = keys.Line(keys.REPORTS, 'conductor', True, os.urandom(32))


def test_reports_count_for_who_sealed_them(
    bed: Bed, guests: client.Client, conductor: Any, query: Any, connect: Any
) -> None:
    section = {'key_file': write(bed.folder / 'conductor.keys', REPORTS)}
    child = conductor({'seal': section, 'conductor': {'report_rate': 20}})
    for name in ('vm-1', 'vm-2'):
        write(bed.guest_keys(name), NOVA.derive(name), REPORTS.derive(name))
        bed.agent(name)

    def events(name: str) -> list[tuple[str, Any]]:
        return [
            (event['type'], event['data'])
            for event in query('event_list', instance=name)['events']
        ]

    def up() -> bool:
        found = query('instance_list', state='UP')['instances']
        return {one['id'] for one in found} == {'vm-1', 'vm-2'}

    processes.wait_for(up, 'both guests are UP')
    command_id = guests.cast('vm-1', 'probe.mark', {'text': 'cast'})
    assert guests.wait('vm-1', command_id, timeout=60)['caller'] == 'nova'

    # vm-2 has all that it needs to report, in the name of vm-1 too.
    publisher = connect()
    reports.Guest(publisher, 'vm-1', generation='forged').event('forged')
    ring = keys.GuestRing([REPORTS.derive('vm-2')])
    forger = guest.Guest('vm-2', ring, window.Limits(1, 1))
    payload = {
        'id': 'x',
        'instance': 'vm-1',
        'kind': 'event',
        'generation': 'forged',
        'sequence': 1,
        'boot_id': 'b',
        'sent': time.time(),
        'data': {'type': 'test.forged', 'at': 1, 'data': {}},
    }
    sealed_one = forger.report(payload, time.time())
    for inside in (sealed_one, {**sealed_one, 'instance': 'vm-1'}):
        publisher.send(
            envelope.notification('guestagent.vm-1', 'guestagent.event', inside, 'x')
        )

    processes.wait_for(
        lambda: any(type == 'instance.report_refused' for type, _ in events('vm-1')),
        'the forgery is told',
    )
    refused = [data for type, data in events('vm-1') if type.endswith('_refused')]
    assert refused == [{'reason': 'plain'}]
    assert not any('forged' in type for type, _ in events('vm-1'))
    child.wait_line("in the name of 'vm-1'")
    processes.wait_for(up, 'both guests are UP still')


def test_a_conductor_that_opens_reports_asks_for_them_and_takes_new_keys(
    bed: Bed, guests: client.Client, conductor: Any, query: Any
) -> None:
    path = bed.folder / 'conductor.keys'
    options = {'seal': {'key_file': write(path, REPORTS)}}
    options['conductor'] = {'facts_gap_after': 0.2}
    first = conductor(options)
    write(bed.guest_keys('vm-1'), NOVA.derive('vm-1'), REPORTS.derive('vm-1'))
    agent = bed.agent('vm-1')

    def known() -> Any:
        return query('facts_get', instance='vm-1')['facts']

    processes.wait_for(lambda: _answer(known), 'the facts are known')
    first.stop()
    first.database.unlink()
    second = conductor(options)
    processes.wait_for(lambda: _answer(known), 'the facts are known again')

    new = REPORTS._replace(secret=os.urandom(32))
    write(path, REPORTS, new)
    os.kill(second.pid, signal.SIGHUP)
    second.wait_line('the keys were read again')
    write(bed.guest_keys('vm-1'), NOVA.derive('vm-1'), new.derive('vm-1'))
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_line('the keys were read again')
    command_id = guests.cast('vm-1', 'probe.mark', {'text': 'cast'})
    assert guests.wait('vm-1', command_id, timeout=60)['outcome'] == 'done'


def test_a_conductor_has_no_key_that_commands(
    bed: Bed, tmp_path: pathlib.Path, bus_url: str
) -> None:
    path = write(tmp_path / 'keys', REPORTS, NOVA)
    child = stack.Conductor(tmp_path, bus_url, {'seal': {'key_file': path}})
    assert child.wait_end() == 2
    assert 'the conductor must have none' in child.output()


def _answer(ask: Callable[[], Any]) -> Any:
    """Return what is answered, ``None`` where the instance is not known yet."""
    try:
        return ask()
    except errors.NoSuchInstance:
        return None
