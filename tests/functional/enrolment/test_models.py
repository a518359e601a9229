# SPDX-License-Identifier: Apache-2.0
"""Each model end to end, and what a hostile guest can and cannot do in it.

vm-a is hostile: it has its account and its keys, and knows all names.  What it can do
is tested as well as what it cannot, because doc/enrolment.rst says both.
"""

import json
import os
import re
import sqlite3
import time
import urllib.request
from collections.abc import Callable

import amqp
import pytest

from devstack import processes, stack
from guestagent import client
from guestagent.bus import envelope
from guestagent.seal import guest, keys, window
from tests.functional.enrolment import conftest
from tests.functional.enrolment.conftest import Bed, Hostile

pytestmark = pytest.mark.functional

Nova = Callable[..., client.Client]

QUEUE_A, QUEUE_B = 'guestagent.vm-a', 'guestagent.vm-b'
REPORTS, REPORT_KEY = 'guestagent_reports', 'guestagent_reports.info'


def two_guests(bed: Bed, model: str) -> tuple[Hostile, stack.Agent]:
    """Return who has become vm-a, and vm-b."""
    child = bed.enrolled('vm-a', '--model', model)
    hostile = Hostile(bed, child)
    victim = bed.enrolled('vm-b', '--model', model)
    for name in ('vm-a', 'vm-b'):
        processes.wait_for(
            lambda name=name: bed.state_of(name) == 'UP', f'the conductor knows {name}'
        )
    return hostile, victim


def nothing_counts(
    bed: Bed,
    hostile: Hostile,
    guests: client.Client,
    daemon: stack.Conductor,
    route: tuple[str, str],
) -> None:
    """Assert that commands and reports that the hostile guest makes do nothing.

    :param route: the exchange and the key by which its commands reach vm-b.
    """
    plain = conftest.request('mark', 'probe', text='hostile')
    assert hostile.publish(*route, plain)
    # Sealed with the key that it has: for vm-a, and turned to vm-b.
    sealed = conftest.request('invoke', 'sealed', value=own_command(hostile))
    assert hostile.publish(*route, sealed)
    for number in range(2000):
        hostile.channel_publish(*route, f'junk {number}')
    for report in conftest.forged_reports(hostile, 'vm-b'):
        assert hostile.publish(REPORTS, REPORT_KEY, report)
    daemon.wait_line("in the name of 'vm-b': it is not sealed")
    daemon.wait_line("in the name of 'vm-b': ")
    assert guests.call('vm-b', 'probe.echo', {'value': 1}, timeout=60) == 1
    assert bed.marks('vm-b') == []
    # Nor is anybody forgotten because of what is said in plain.
    forget = conftest.request(
        'instance_delete', 'conductor', instance='vm-b', force=True
    )
    conductor = ('', 'guestagent-conductor')
    assert hostile.publish(*conductor, forget)
    assert bed.guestctl('instance', 'show', 'vm-b').returncode == 0
    assert 'probe.forged' not in bed.events('vm-b')


def own_command(hostile: Hostile) -> str:
    """Return a command that is sealed with the key of vm-a."""
    from guestagent.seal import contents, value

    line = keys.parse(hostile.lines, 'keys')[0]
    command = contents.Command(
        caller='nova',
        instance='vm-b',
        namespace='probe',
        method='mark',
        version='1.0',
        args={'text': 'hostile'},
        context={},
        id='c-1',
        stamp=1,
        expiry=2**52,
        waits=False,
        epoch='',
    )
    sealed = keys.Key(line).to_guest.seal(
        value.COMMAND, b'vm-b', contents.write_command(command)
    )
    return value.encode(sealed)


def throw_out(bed: Bed, user: str) -> int:
    """End the connections of a user; return how many the broker has listed."""
    names = [
        one['name'] for one in bed.api.get('connections') if one.get('user') == user
    ]
    return sum(bed.api.delete('connections', name) for name in names)


def flood(bed: Bed, hostile: Hostile, number: int) -> None:
    """Report in the own name, sealed, without end."""
    ring = guest.Guest(
        'vm-a', keys.GuestRing(keys.parse(hostile.lines, 'keys')), window.Limits(1, 1)
    )
    for sequence in range(number):
        payload = {
            'instance': 'vm-a',
            'kind': 'event',
            'id': f'flood-{sequence}',
            'generation': 'flood',
            'sequence': sequence + 1,
            'boot_id': '',
            'sent': time.time(),
            'data': {'type': 'probe.flood', 'at': time.time(), 'data': {}},
        }
        body = envelope.notification(
            QUEUE_A,
            'guestagent.event',
            ring.report(payload, time.time()),
            f'{sequence}',
        )
        hostile.channel_publish(REPORTS, REPORT_KEY, body)


def test_shared(bed: Bed, nova: Nova) -> None:
    daemon = bed.conductor(report_rate=5, report_burst=200)
    hostile, _ = two_guests(bed, 'shared')
    guests = nova()

    nothing_counts(bed, hostile, guests, daemon, ('guestagent', QUEUE_B))
    # Of one that floods some reports count, and all of the others.
    flood(bed, hostile, 1000)
    processes.wait_for(lambda: 'instance.flood' in bed.events('vm-a'), 'it is told')
    command_id = guests.cast('vm-b', 'probe.echo', {'value': 1})
    assert guests.wait('vm-b', command_id, timeout=60)['caller'] == 'nova'
    processes.wait_for(lambda: bed.state_of('vm-b') == 'UP', 'the other is UP')
    assert 'instance.flood' not in bed.events('vm-b')

    # What is said of this model: the account of all may do all.
    assert hostile.may('queue_declare', 'mine', auto_delete=True)
    assert hostile.may('queue_bind', QUEUE_A, 'guestagent', QUEUE_B)
    assert hostile.may('basic_get', QUEUE_B)
    assert hostile.may('queue_purge', QUEUE_B)
    assert hostile.may('basic_get', 'guestagent-conductor')


def test_exchange(bed: Bed, nova: Nova) -> None:
    daemon = bed.conductor()
    hostile, victim = two_guests(bed, 'exchange')
    guests = nova()
    assert guests.call('vm-a', 'probe.echo', {'value': 1}, timeout=60) == 1

    cannot = [
        ('queue_declare', 'mine'),
        ('queue_declare', QUEUE_A),
        ('queue_declare', 'reply_0123'),
        ('queue_delete', QUEUE_A),
        ('queue_delete', QUEUE_B),
        ('queue_purge', QUEUE_B),
        ('queue_purge', REPORT_KEY),
        ('basic_get', QUEUE_B),
        ('basic_consume', QUEUE_B),
        ('basic_get', REPORT_KEY),
        ('basic_get', 'guestagent-conductor'),
        ('queue_bind', QUEUE_A, 'guestagent', QUEUE_B),
        ('queue_bind', QUEUE_A, 'guestagent', '#'),
        ('queue_bind', QUEUE_A, REPORTS, '#'),
        ('exchange_declare', 'guestagent', 'topic'),
        ('exchange_delete', 'guestagent'),
        ('exchange_delete', REPORTS),
    ]
    for method, *names in cannot:
        assert not hostile.may(method, *names), (method, names)
    body = conftest.request('mark', 'probe', text='hostile')
    for exchange, key in (
        ('guestagent', QUEUE_B),
        ('guestagent_enroll', 'guestagent_enroll'),
        (f'{QUEUE_B}_fanout', QUEUE_B),
        (REPORTS, 'another.key'),
    ):
        assert not hostile.publish(exchange, key, body), (exchange, key)
    # What is said of this model: it sees that a queue is there, and how long it is;
    # the default exchange, which replies need, leads to each queue.
    assert hostile.may('queue_declare', QUEUE_B, passive=True)
    nothing_counts(bed, hostile, guests, daemon, ('', QUEUE_B))
    # The agent's connection, the hostile one, and another.
    third = hostile.connect()
    with pytest.raises((amqp.AMQPError, OSError)):
        hostile.connect()
    third.close()

    # Being cut off ends the connection that it has.
    bed.done('instance', 'revoke', 'vm-a')
    processes.wait_for(lambda: is_cut(hostile), 'its connection has ended')
    with pytest.raises((amqp.AMQPError, OSError)):
        hostile.connect()
    assert guests.call('vm-b', 'probe.echo', {'value': 2}, timeout=60) == 2
    assert victim.running


def is_cut(hostile: Hostile) -> bool:
    """Whether the broker has ended the connection, which it does soon."""
    try:
        hostile.connection.channel().queue_declare(QUEUE_A, passive=True)
    except (amqp.ConnectionError, OSError):
        return True
    return False


def vhosts_of(port: int) -> dict[str, float]:
    """Return what the conductor's metrics say of virtual hosts, by state."""
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=60) as page:
        text = page.read().decode()
    pattern = r'^guestagent_conductor_vhosts\{state="(\w+)"\} (\S+)$'
    return {
        state: float(number)
        for state, number in re.findall(pattern, text, re.MULTILINE)
    }


def test_vhost(bed: Bed, nova: Nova) -> None:
    port = processes.free_port()
    daemon = bed.conductor(f'127.0.0.1:{port}', facts_gap_after=0.2)
    hostile, victim = two_guests(bed, 'vhost')
    processes.wait_for(
        lambda: vhosts_of(port) == {'listening': 2, 'away': 0, 'beyond': 0},
        'both virtual hosts are listened to',
    )
    apart = nova(bed.bus_url.rpartition('/')[0] + f'/{QUEUE_B}')
    assert apart.call('vm-b', 'probe.echo', {'value': 1}, timeout=60) == 1

    for vhost in (bed.vhost, QUEUE_B, '/'):
        with pytest.raises((amqp.AMQPError, OSError)):
            Hostile(bed, _agent_of(bed, 'vm-a'), vhost)
    # At home it may do all, and it harms itself.
    assert hostile.may('exchange_delete', 'guestagent')
    for report in conftest.forged_reports(hostile, 'vm-b'):
        assert hostile.publish(REPORTS, REPORT_KEY, report)
    daemon.wait_line("in the name of 'vm-b': ")
    assert 'probe.forged' not in bed.events('vm-b')
    assert not all(
        hostile.may('queue_declare', f'mine-{number}') for number in range(300)
    )
    assert apart.call('vm-b', 'probe.echo', {'value': 2}, timeout=60) == 2

    # The conductor asks each for what it has forgotten; who cannot be asked, because
    # it has thrown its exchange away, keeps nobody from being asked.
    for name in ('vm-a', 'vm-b'):
        bed.done('instance', 'delete', name, '--yes', '--force')
    daemon.wait_line('instance vm-a was not asked for missing facts')
    processes.wait_for(lambda: is_complete(bed, 'vm-b'), 'vm-b has told all facts')

    gone = bed.done('instance', 'revoke', 'vm-a')
    assert 'its account, its virtual host' in gone
    processes.wait_for(
        lambda: vhosts_of(port) == {'listening': 1, 'away': 0, 'beyond': 0},
        'the other is listened to',
    )
    processes.wait_for(lambda: is_cut(hostile), 'its connection has ended')
    assert apart.call('vm-b', 'probe.echo', {'value': 3}, timeout=60) == 3
    assert victim.running


def is_complete(bed: Bed, name: str) -> bool:
    """Whether the conductor has had a full report of facts since it knows a guest."""
    database = sqlite3.connect(bed.folder / 'conductor.sqlite', timeout=60)
    try:
        return database.execute(
            'SELECT facts_gap IS NULL AND facts_sequence > 0 FROM instances '
            'WHERE id = ?',
            (name,),
        ).fetchone() == (1,)
    finally:
        database.close()


def _agent_of(bed: Bed, name: str) -> stack.Agent:
    return next(
        child
        for child in bed.children
        if isinstance(child, stack.Agent) and child.instance == name
    )


def test_who_has_only_a_token_can_only_exchange_it(bed: Bed) -> None:
    bed.conductor()
    bed.enrolled('vm-b', '--model', 'exchange')
    child = bed.enrolled('vm-a')
    stranger = Hostile(bed, child)
    stranger._options.update(
        userid=f'enroll-{bed.number}', password=conftest.TOKEN_PASSWORD
    )
    stranger.connection = stranger.connect()
    own = 'reply_enroll_' + '0' * 32

    for method, *names in (
        ('queue_declare', 'mine'),
        ('queue_declare', 'reply_enroll_mine'),
        ('queue_delete', QUEUE_B),
        ('basic_get', QUEUE_B),
        ('basic_get', 'guestagent_enroll'),
        ('basic_get', REPORT_KEY),
        ('exchange_delete', 'guestagent_enroll'),
    ):
        assert not stranger.may(method, *names), (method, names)
    assert stranger.may('queue_declare', own, exclusive=True)
    assert not stranger.may('queue_bind', own, 'guestagent_enroll', 'guestagent_enroll')
    stranger.own_queue = own
    for exchange, key in (
        ('', QUEUE_B),
        ('', 'guestagent-conductor'),
        ('guestagent', QUEUE_B),
        ('guestagent', 'guestagent-conductor'),
        (REPORTS, REPORT_KEY),
        ('guestagent_enroll', 'another'),
    ):
        assert not stranger.publish(exchange, key, 'x'), (exchange, key)
    assert stranger.publish('guestagent_enroll', 'guestagent_enroll', 'x')


@pytest.mark.parametrize('model', ['shared', 'exchange'])
def test_keys_and_passwords_rotate(bed: Bed, nova: Nova, model: str) -> None:
    bed.conductor()
    child = bed.enrolled('vm-a', '--model', model)
    before = Hostile(bed, child)
    lines = before.lines.splitlines()
    new = conftest.NOVA._replace(secret=os.urandom(32))
    both = conftest.write_keys(bed.folder / 'both.keys', conftest.NOVA, new)
    only = conftest.write_keys(bed.folder / 'new.keys', new)

    bed.done(
        *('--key-file', bed.nova, 'instance', 'rotate', 'vm-a', only),
        *(bed.conductor_keys, '--overlap', '600'),
    )

    kept = (child.state / 'keys').read_text().splitlines()
    assert kept[0].startswith(f'{lines[0]} until ')
    assert [line.split()[1] for line in kept] == ['nova', 'nova', 'conductor']
    for path in (bed.nova, only, both):
        with client.Client(
            url=f'{bed.bus_url}?amqp_durable_queues=true', key_file=path
        ) as caller:
            assert caller.call('vm-a', 'probe.echo', {'value': 1}, timeout=60) == 1
    secret = str(new.derive('vm-a')).split()[2]
    for path in (*bed.folder.glob('*.log'), child.state / 'journal'):
        assert secret.encode() not in path.read_bytes()
    if model == 'exchange':
        with pytest.raises((amqp.AMQPError, OSError)):
            before.connect()
        stored = json.loads((child.state / 'enrolled').read_text())['url']
        assert stored.count('@') == 2
        # It connects with the new one when the broker throws it out.
        processes.wait_for(lambda: throw_out(bed, QUEUE_A), 'it is listed')
        child.wait_for(
            lambda: child.output().count('connected to RabbitMQ') == 2, 'it is back'
        )
