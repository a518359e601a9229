# SPDX-License-Identifier: Apache-2.0
"""What the hub does with messages, and when it says that it is done."""

import pytest

from guestagent.bus import framing
from tests.functional import hubs
from tests.functional.hubs import GUEST, REPORTS, SERVICE, consume

pytestmark = pytest.mark.functional


def test_a_call_to_a_guest_and_its_reply(program, guest):
    consume(program, reply='reply_x', noack=True)
    program.send('publish', b'call', reply='reply_x', ttl=60, **GUEST)
    guest.send('take', prefetch=10)

    came = guest.receive()
    assert (came.op, came.body) == ('deliver', b'call')
    assert 0 < came.header['ttl'] <= 60
    guest.send('ack', tags=[came.header['tag']])
    guest.send('reply', b'answer', to='reply_x', id=1)

    reply = program.receive()
    assert (reply.header['sub'], reply.body) == (1, b'answer')


def test_what_is_acknowledged_is_confirmed_and_not_before(program, guest):
    guest.send('take', prefetch=10)
    program.send('publish', b'cast', id=1, held=True, done=True, **GUEST)
    assert program.receive().header == {'op': 'settled', 'id': 1, 'outcome': 'held'}
    came = guest.receive()
    assert program.silent()

    guest.send('ack', tags=[came.header['tag']])

    assert program.receive().header['outcome'] == 'acknowledged'


def test_a_request_waits_for_its_guest_and_comes_again_if_it_dies(hub, program):
    program.send('publish', b'cast', id=1, done=True, **GUEST)
    for redelivered in (None, True):
        with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as guest:
            guest.send('take', prefetch=1)
            came = guest.receive()
            assert (came.body, came.header.get('redelivered')) == (b'cast', redelivered)
    assert program.silent()


def test_a_report_is_confirmed_by_who_takes_it(program, guest):
    guest.send('report', hubs.report('vm-1'), id=1)
    assert guest.receive().header['outcome'] == 'returned'
    consume(program, kept=True, **REPORTS)

    guest.send('report', hubs.report('vm-1'), id=2)
    came = program.receive()
    assert came.body == hubs.report('vm-1')
    assert guest.silent()
    program.send('ack', sub=1, upto=came.header['tag'])
    assert guest.receive().header['outcome'] == 'acknowledged'


@pytest.mark.parametrize(
    'body', [hubs.report('vm-2'), b'garbage', b'{}', b'{"payload": []}', b'']
)
def test_a_guest_reports_as_itself_only(program, guest, body):
    consume(program, kept=True, **REPORTS)

    guest.send('report', body, id=1)

    assert guest.receive().header['outcome'] == 'rejected'
    assert program.silent()


def test_a_guest_replies_only_to_who_has_asked_it(hub, program, guest):
    consume(program, reply='reply_x', noack=True)

    guest.send('reply', b'forged', to='reply_x', id=1)

    assert guest.receive().header['outcome'] == 'rejected'
    assert program.silent()
    hub.wait_line("guest vm-1 replies to 'reply_x', which never asked it")


def test_a_guest_cannot_do_what_programs_do(program, guest):
    consume(program, **SERVICE)
    guest.send('publish', b'x', **SERVICE)
    guest.send('consume', sub=1, prefetch=1, **SERVICE)
    assert guest.silent()
    assert program.silent()


def test_a_second_agent_is_refused_and_the_first_goes_on(hub, program, guest):
    with hubs.Peer(hub.guest_socket('vm-1'), '') as second:
        (bye,) = second.wait_closed()
    assert 'connected already' in bye.header['reason']
    assert guest.silent()


def test_an_agent_that_follows_another_on_its_connection_begins_anew(guest, hub):
    guest.send('hello', v=1, role='guest')
    assert 'another agent' in guest.wait_closed()[-1].header['reason']
    with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as after:
        assert after.silent()


def test_the_next_agent_hears_nothing_of_the_last_ones_reports(hub, program):
    consume(program, kept=True, **REPORTS)
    with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as guest:
        guest.send('report', hubs.report('vm-1'), id=1)
        came = program.receive()
    with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as guest:
        program.send('ack', sub=1, upto=came.header['tag'])
        assert program.silent()
        assert guest.silent()


def test_consumers_of_a_topic_take_turns_and_each_gets_a_fanout(hub, program):
    with hubs.Peer(hub.folder / 'programs.sock') as other:
        for peer in (program, other):
            consume(peer, 1, **SERVICE)
            consume(peer, 2, fanout=True, **SERVICE)
        for number in range(4):
            program.send('publish', b'%d' % number, **SERVICE)
        program.send('publish', b'all', fanout=True, id=7, done=True, **SERVICE)

        came = [[peer.receive() for _ in range(3)] for peer in (program, other)]
        bodies = sorted([frame.body for frame in frames] for frames in came)
        assert bodies == [[b'0', b'2', b'all'], [b'1', b'3', b'all']]
        other.send('ack', sub=2, tags=[came[1][2].header['tag']])
        assert other.silent()
        assert program.silent()
        program.send('ack', sub=2, tags=[came[0][2].header['tag']])
        assert program.receive().header['id'] == 7


def test_nobody_listens(program):
    program.send('publish', b'x', id=1, **SERVICE)
    assert program.receive().header['outcome'] == 'returned'
    stranger = {**GUEST, 'topic': 'guestagent.vm-9'}
    program.send('publish', b'x', id=2, mandatory=True, **stranger)
    assert program.receive().header['outcome'] == 'returned'
    program.send('publish', b'x', id=3, create=True, held=True, **SERVICE)
    assert program.receive().header['outcome'] == 'held'


def test_a_guest_gets_its_socket_when_it_is_first_addressed(hub, program):
    program.send('publish', b'x', id=1, held=True, **{**GUEST, 'topic': 'guestagent.n'})
    assert program.receive().header['outcome'] == 'held'
    with hubs.Peer(hub.guest_socket('n'), 'guest') as guest:
        guest.send('take', prefetch=1)
        assert guest.receive().body == b'x'
    for bad in ('a/b', '../x', '', 'x' * 150, 'ż'):
        address = {**GUEST, 'topic': f'guestagent.{bad}'}
        program.send('publish', b'x', id=2, **address)
        assert program.receive().header['outcome'] == 'returned'
    assert sorted(path.name for path in (hub.folder / 'guests').iterdir()) == [
        'n.sock',
        'vm-1.sock',
    ]


def test_bounds_of_count_and_age(tmp_path, children):
    options = ('--guest', 'vm-1', '--max-waiting', '3', '--max-age', '1')
    hub = hubs.Hub(tmp_path, *options)
    children.append(hub)
    with hubs.Peer(hub.folder / 'programs.sock') as program:
        # At once: the first must not be too old when the last comes.
        header = {'op': 'publish', **GUEST}
        program.sock.sendall(
            b''.join(framing.encode({**header, 'id': n}, b'x') for n in range(4))
        )
        full = program.receive()
        assert (full.header['id'], full.header['outcome']) == (3, 'rejected')
        assert '3 messages wait for guest vm-1' in full.header['reason']
        late = [program.receive().header for _ in range(3)]
    assert [(h['id'], h['outcome']) for h in late] == [(n, 'expired') for n in range(3)]


def test_bounds_of_bytes(program):
    body = b'x' * (15 * 2**20)
    for number in range(3):
        program.send('publish', body, id=number, held=True, **GUEST)
    outcomes = [program.receive().header['outcome'] for _ in range(3)]
    assert outcomes == ['held', 'held', 'rejected']


def test_of_a_request_that_is_too_large_for_the_guest_comes_the_end(hub, program):
    with hubs.Peer(hub.guest_socket('vm-1'), '') as guest:
        guest.send('hello', v=1, role='guest', max=100_000)
        assert guest.receive().op == 'hello'
        guest.send('take', prefetch=1)
        program.send('publish', b'x' * 200_000 + b'end', **GUEST)
        came = guest.receive()
    assert (came.header['size'], len(came.body)) == (200_003, 65536)
    assert came.body.endswith(b'end')


def test_replies_wait_for_a_program_that_was_lost_and_comes_back(hub, guest):
    guest.send('take', prefetch=10)
    with hubs.Peer(hub.folder / 'programs.sock') as lost:
        consume(lost, reply='reply_x', noack=True)
        lost.send('publish', b'call', reply='reply_x', ttl=300, **GUEST)
        assert guest.receive().body == b'call'

    guest.send('reply', b'answer', to='reply_x', id=1)
    assert guest.silent()

    with hubs.Peer(hub.folder / 'programs.sock') as again:
        consume(again, reply='reply_x', noack=True)
        assert again.receive().body == b'answer'
        again.send('bye', reason='closed')
        again.wait_closed()
    guest.send('reply', b'more', to='reply_x', id=2)
    assert guest.receive().header['outcome'] == 'returned'
