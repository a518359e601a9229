# SPDX-License-Identifier: Apache-2.0
"""The envelope, judged by oslo.messaging's own code."""

import json

import oslo_messaging
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_messaging._drivers import common

from guestagent import errors
from guestagent.bus import envelope

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def stock_request(**fields):
    return json.dumps(common.serialize_msg(fields))


@given(
    args=st.dictionaries(st.text(), JSON, max_size=3),
    context=st.dictionaries(st.text(), JSON, max_size=3),
)
def test_reads_what_a_stock_client_writes(args, context):
    body = stock_request(
        method='run',
        args=args,
        namespace='exec',
        version='1.0',
        _msg_id='m',
        _reply_q='reply_1',
        _unique_id='u',
        _timeout=None,
        **{f'_context_{key}': value for key, value in context.items()},
    )

    message = envelope.read(body.encode())

    assert message.body == {
        'method': 'run',
        'args': args,
        'namespace': 'exec',
        'version': '1.0',
    }
    assert message.context == context
    assert (message.msg_id, message.reply_queue, message.unique_id) == (
        'm',
        'reply_1',
        'u',
    )
    assert message.monitor is None


@given(result=JSON)
def test_a_stock_client_reads_our_reply(result):
    got = common.deserialize_msg(json.loads(envelope.reply('m', result)))

    assert got['result'] == result
    assert got['failure'] is None
    assert got['ending'] is True
    assert got['_msg_id'] == 'm'


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (errors.Busy('full'), errors.Busy),
        (ValueError('no such thing'), ValueError),
        (errors.NoSuchMethod('nope'), oslo_messaging.RemoteError),
        (KeyError(object()), KeyError),
    ],
)
def test_a_stock_client_raises_our_failure(error, kind):
    got = json.loads(json.loads(envelope.failure('m', error))['oslo.message'])

    raised = common.deserialize_remote_exception(got['failure'], ['guestagent.errors'])

    assert isinstance(raised, kind)


def test_a_missing_method_is_told_as_oslo_messaging_tells_it():
    try:
        raise oslo_messaging.NoSuchMethod('nope')
    except oslo_messaging.NoSuchMethod as error:
        theirs = json.loads(
            common.serialize_remote_exception((type(error), error, error.__traceback__))
        )

    ours = envelope.describe(errors.NoSuchMethod('nope'))

    theirs['tb'] = ours['tb'] = []
    assert ours == theirs


def test_an_unsupported_version_is_told_as_oslo_messaging_tells_it():
    theirs = oslo_messaging.UnsupportedVersion('2.0', method='run')
    ours = envelope.describe(errors.UnsupportedVersion('2.0', 'run'))

    assert (ours['message'], ours['args'], ours['module']) == (
        str(theirs),
        list(theirs.args),
        type(theirs).__module__,
    )


@pytest.mark.parametrize(
    ('body', 'what'),
    [
        (b'', 'not JSON'),
        (b'\xff\xfe\x00', 'not JSON'),
        (b'{"oslo.version"', 'not JSON'),
        (b'[1]', 'a JSON list, not an object'),
        (b'"x"', 'a JSON str, not an object'),
        (b'[' * 100000, 'not JSON'),
        (b'{"oslo.version": "1.0", "oslo.message": "{}"}', "envelope version '1.0'"),
        (b'{"oslo.version": "2.1", "oslo.message": "{}"}', "envelope version '2.1'"),
        (b'{"oslo.version": [], "oslo.message": "{}"}', 'envelope version'),
        (b'{"oslo.version": "2.0", "oslo.message": {}}', 'oslo.message is not text'),
        (b'{"oslo.version": "2.0", "oslo.message": "[]"}', 'a JSON list'),
    ],
)
def test_what_is_no_message_is_named(body, what):
    with pytest.raises(envelope.Unreadable, match=what):
        envelope.read(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_unreadable(body):
    try:
        message = envelope.read(body)
    except envelope.Unreadable:
        return
    assert isinstance(message.body, dict)


def test_a_bare_message_is_read():
    assert envelope.read(b'{"method": "run", "args": {}}').body['method'] == 'run'


@pytest.mark.parametrize(
    ('given', 'wanted'),
    [
        (None, None),
        (0, None),
        (1, None),
        ('x', None),
        ('2', 2),
        (3, 3),
        ([], None),
        ({'a': 1}, None),
        (float('inf'), None),
    ],
)
def test_call_monitoring_is_judged_as_oslo_messaging_does(given, wanted):
    body = json.dumps({'method': 'run', '_timeout': given})

    assert envelope.read(body).monitor == wanted


def test_a_failure_carries_what_json_cannot():
    class Odd(Exception):
        kwargs = {'thing': object()}

    told = envelope.describe(Odd(object(), [b'x'], {1: {2}}))

    assert json.loads(json.dumps(told))['class'] == 'Odd'


def test_a_stock_listener_would_read_our_notification():
    body = envelope.notification('guestagent.vm', 'guestagent.event', {'a': 1}, 'id')
    got = common.deserialize_msg(json.loads(body))

    assert got['payload'] == {'a': 1}
    assert got['priority'] == 'INFO'
    assert got['publisher_id'] == 'guestagent.vm'
    assert len(got['timestamp']) == len('2026-01-01 00:00:00.000000')
