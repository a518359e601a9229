# SPDX-License-Identifier: Apache-2.0
"""What no client should send to the conductor's queues of queries."""

import json
import socket
import uuid

import pytest

from devstack import processes
from tests.functional import raw, reports

pytestmark = pytest.mark.functional

TOPIC = 'guestagent-conductor'
#: (exchange, routing key) of each queue of queries.
QUEUES = {
    'topic': ('guestagent', TOPIC),
    'server': ('guestagent', f'{TOPIC}.{socket.gethostname()}'),
    'fanout': (f'{TOPIC}_fanout', TOPIC),
}
ASKED = {'method': 'instance_list', 'namespace': 'conductor', 'version': '1.0'}


def _enveloped(message: object) -> bytes:
    return json.dumps(
        {'oslo.version': '2.0', 'oslo.message': json.dumps(message)}
    ).encode()


WHOLE = _enveloped({**ASKED, '_unique_id': 'u'})
GARBAGE = [
    b'',
    b'garbage',
    b'\x00\xff' * 1000,
    b'[1]',
    b'"x"',
    b'{}',
    b'[' * 100_000,
    WHOLE[:-20],
    WHOLE.replace(b'2.0', b'9.0'),
    WHOLE.replace(b'instance_list', b'\xff\xfe'),
    b'{"oslo.version": "2.0", "oslo.message": {"method": 1}}',
    _enveloped([ASKED]),
    _enveloped({}),
    _enveloped({**ASKED, 'method': 1}),
    _enveloped({**ASKED, 'args': [1]}),
    _enveloped({**ASKED, 'method': 'drop_tables'}),
    _enveloped({**ASKED, 'namespace': 'x'}),
    _enveloped({**ASKED, 'version': 'one'}),
]


DROPPED = 'Failed to process message|Exception during message handling: '


@pytest.mark.parametrize('name', QUEUES)
def test_what_is_no_query_is_dropped_in_few_lines(conductor, bus_url, query, name):
    child = conductor()
    exchange, key = QUEUES[name]
    with raw.RawClient(bus_url, exchange=exchange) as client:
        for _ in range(20):
            for body in GARBAGE:
                client.send(key, body)

        assert query('instance_list') == {'instances': [], 'next': None}
        child.wait_line(DROPPED)
        processes.wait_for(lambda: not client.depth(TOPIC), 'the queue is empty')
    assert child.stop() == 0
    assert child.output().count('\n') < 200


@pytest.mark.parametrize('name', QUEUES)
def test_a_query_of_100_mib_keeps_nobody_from_an_answer(
    conductor, bus_url, query, name
):
    child = conductor()
    exchange, key = QUEUES[name]
    with raw.RawClient(bus_url, exchange=exchange) as client:
        client.send(key, b'{"x": "' + b'x' * (100 * 2**20))

        assert query('instance_list') == {'instances': [], 'next': None}
        child.wait_line(DROPPED)


@pytest.mark.parametrize(
    'reply_queue',
    ['reply_gone', reports.QUEUE, 5, '', f'reply_{"x" * 300}', 'reply_\ud800', None],
    ids=['gone', 'reports', 'number', 'empty', 'long', 'no UTF-8', 'null'],
)
def test_callers_who_are_gone_hold_up_no_other(conductor, bus_url, query, reply_queue):
    child = conductor({'conductor': {'rpc_workers': 2}})
    with raw.RawClient(bus_url) as client:
        for _ in range(20):
            client.send(
                TOPIC, {**ASKED, '_msg_id': uuid.uuid4().hex, '_reply_q': reply_queue}
            )

        # Each would take a worker for a minute, and a query waits for no longer.
        assert query('instance_list') == {'instances': [], 'next': None}
    assert child.stop() == 0
    assert 'has not ended' not in child.output()
    assert child.output().count('\n') < 100
    assert '0 reports taken' in child.output()
