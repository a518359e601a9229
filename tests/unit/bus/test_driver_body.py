# SPDX-License-Identifier: Apache-2.0
import datetime
import json
import uuid

import pytest
from oslo_messaging._drivers import common

from guestagent.bus.driver import body

# What oslo.serialization has words for beside JSON's own.
ODD = {'day': datetime.datetime(2026, 11, 21), 'id': uuid.UUID(int=5), 'set': {1}}
MESSAGES = [{}, {'method': 'ping', 'args': {'text': 'é\ud83d'}}, {'args': ODD}]


@pytest.mark.parametrize('message', MESSAGES)
def test_stock_drivers_read_what_is_written(message):
    theirs = common.serialize_msg(dict(message))

    found = common.deserialize_msg(json.loads(body.write(dict(message))))

    assert len(found.pop('_unique_id')) == 32
    assert found == common.deserialize_msg(theirs)


def test_each_sending_has_an_id_of_its_own():
    message = {'method': 'ping'}

    first, second = body.read(body.write(message)), body.read(body.write(message))

    assert first['_unique_id'] != second['_unique_id']


def test_without_an_envelope_there_is_none():
    found = json.loads(body.write({'event_type': 'hello'}, enveloped=False))

    assert found['event_type'] == 'hello'


@pytest.mark.parametrize('message', MESSAGES)
def test_what_stock_drivers_write_is_read(message):
    theirs = common.serialize_msg(message)

    assert body.read(json.dumps(theirs).encode()) == common.deserialize_msg(theirs)


@pytest.mark.parametrize(
    'fields', [{'method': 'bare'}, {'oslo.version': '2.0'}, ['list'], 'text', 1]
)
def test_what_has_no_envelope_is_read_as_it_is(fields):
    assert body.read(json.dumps(fields).encode()) == fields


@pytest.mark.parametrize(
    ('text', 'error'),
    [
        (b'{"oslo.version":"3.0","oslo.message":"{}"}', common.RPCException),
        (b'{"oslo.version":"2.0","oslo.message":{}}', TypeError),
        (b'{"oslo.version":"2.0","oslo.message":"{"}', ValueError),
        (b'{', ValueError),
        (b'"\xff"', ValueError),
    ],
)
def test_what_is_no_message_is_refused(text, error):
    with pytest.raises(error):
        body.read(text)
