# SPDX-License-Identifier: Apache-2.0
"""What is a report, and what is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent.bus import envelope
from guestagent.conductor import report

EXTENSION = {
    'version': '1.0',
    'health': 'ok',
    'distribution': 'guestagent-exec',
    'distribution_version': '0.1.0',
}


def test_a_heartbeat(payload):
    read = report.parse(payload(extensions={'exec': EXTENSION}, dropped=3))

    assert read == report.Report(
        'i',
        'one',
        1,
        'boot',
        report.Heartbeat(
            False,
            10.0,
            3,
            '',
            report.Whole(
                '0.1.0',
                5.0,
                {'exec': report.Extension('1.0', 'ok', 'guestagent-exec', '0.1.0')},
            ),
        ),
    )


def test_a_short_heartbeat(payload):
    sent = payload()
    sent['data'] = {'status': 'running', 'interval': 10, 'digest': 'd', 'audit': 5}

    assert report.parse(sent).data == report.Heartbeat(False, 10.0, 0, 'd', None, 5)


def test_a_heartbeat_without_extensions_names_a_digest(payload):
    for digest in (None, '', 'x' * 65, 5):
        sent = payload()
        sent['data'] = {'status': 'running', 'interval': 10, 'digest': digest}
        with pytest.raises(report.Rejected):
            report.parse(sent)


def test_an_extension_that_did_not_load(payload):
    read = report.parse(
        payload(
            extensions={
                'x': {
                    'version': None,
                    'health': 'No module\nnamed x',
                    'distribution': None,
                    'distribution_version': None,
                }
            }
        )
    )

    assert read.data.whole.extensions['x'] == report.Extension(
        None, 'No module named x', None, None
    )


def test_values_of_any_shape_become_json_text(payload):
    facts = report.parse(
        payload(
            'facts',
            facts={
                'a.list': [1, {'z': 1, 'a': None}],
                'a.text': 'é\0\ud800',
                'a.gone': None,
            },
        )
    )

    assert facts.data.facts == {
        'a.list': '[1,{"a":null,"z":1}]',
        'a.text': '"\\u00e9\\u0000\\ud800"',
        'a.gone': None,
    }
    outcome = report.parse(payload('outcome', error={'code': 'x'}, result=[1.5]))
    assert (outcome.data.result, outcome.data.error) == ('[1.5]', '{"code":"x"}')


def test_a_body_with_and_without_envelope(payload):
    event = payload('event')
    wrapped = envelope.notification('guestagent.i', 'guestagent.event', event, 'm')

    bare = json.dumps({'payload': event}).encode()
    assert report.payload(wrapped) == report.payload(bare) == event


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'\xff',
        b'[1]',
        b'"x"',
        b'null',
        b'{}',
        b'{"payload": []}',
        b'[' * 100000,
        b'{"oslo.version": "3.0", "oslo.message": "{}"}',
        b'{"oslo.version": "2.0", "oslo.message": 1}',
    ],
)
def test_what_is_no_notification_is_rejected(body):
    with pytest.raises(report.Rejected):
        report.parse(report.payload(body))


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'kind': 'gossip'}, 'kind'),
        ({'kind': ['heartbeat']}, 'kind'),
        ({'instance': 'a b'}, 'instance'),
        ({'instance': None}, 'instance'),
        ({'instance': 'x' * 201}, 'instance'),
        ({'generation': ''}, 'generation'),
        ({'generation': 'a\0'}, 'generation'),
        ({'generation': 'a '}, 'generation'),
        ({'generation': '\ud800'}, 'generation'),
        ({'sequence': 0}, 'sequence'),
        ({'sequence': True}, 'sequence'),
        ({'sequence': 1.0}, 'sequence'),
        ({'sequence': 2**63}, 'sequence'),
        ({'sent': 'now'}, 'sent'),
        ({'sent': 1e400}, 'sent'),
        ({'boot_id': 5}, 'boot_id'),
        ({'data': []}, 'data'),
    ],
)
def test_a_wrong_field_is_named(payload, change, reason):
    with pytest.raises(report.Rejected, match=f'^{reason}\\b'):
        report.parse({**payload(), **change})


@pytest.mark.parametrize(
    ('kind', 'change', 'reason'),
    [
        ('heartbeat', {'status': 'tired'}, 'status'),
        ('heartbeat', {'interval': 0}, 'interval'),
        ('heartbeat', {'interval': float('nan')}, 'interval'),
        ('heartbeat', {'started': 10**400}, 'started'),
        ('heartbeat', {'started': False}, 'started'),
        ('heartbeat', {'dropped': -1}, 'dropped'),
        ('heartbeat', {'agent_version': 'x' * 65}, 'agent_version'),
        ('heartbeat', {'extensions': {'x': 1}}, 'extension'),
        ('heartbeat', {'extensions': {'x': {'health': None}}}, 'health'),
        ('heartbeat', {'extensions': {'x': {**EXTENSION, 'version': 1}}}, 'version'),
        ('facts', {'full': 1}, 'full'),
        ('facts', {'facts': []}, 'facts'),
        ('facts', {'facts': {'x' * 256: 1}}, 'name of a fact'),
        ('facts', {'facts': {'a': float('inf')}}, 'value of a fact'),
        ('outcome', {'command_id': 'a b'}, 'command_id'),
        ('outcome', {'command_id': 1}, 'command_id'),
        ('outcome', {'outcome': 'lost'}, 'outcome'),
        ('outcome', {'outcome': []}, 'outcome'),
        ('outcome', {'error': 'bad'}, 'error'),
        ('outcome', {'caller': None}, 'caller'),
        ('event', {'type': ''}, 'type'),
        ('event', {'at': -1}, 'at'),
        ('event', {'data': None}, 'data of the event'),
    ],
)
def test_wrong_data_is_named(payload, kind, change, reason):
    with pytest.raises(report.Rejected, match=f'^{reason}'):
        report.parse(payload(kind, **change))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    kind=st.sampled_from(['heartbeat', 'facts', 'outcome', 'event']),
    name=st.text(),
    value=_JSON,
    where=st.integers(0, 20),
)
def test_any_value_anywhere_is_taken_or_rejected(payload, kind, name, value, where):
    changed = payload(kind)
    of = changed if where % 2 else changed['data']
    key = sorted(of)[where % len(of)]
    of[key] = {name: value} if where > 10 else value
    try:
        read = report.parse(changed)
    except report.Rejected:
        return
    json.dumps(read, allow_nan=False)
