# SPDX-License-Identifier: Apache-2.0
"""What is left of what oslo.messaging logs of bad queries."""

import logging

import oslo_messaging
import pytest

from guestagent.conductor import chatter

SERVER = 'oslo_messaging.rpc.server'
DECODER = 'oslo.messaging._drivers.impl_rabbit'


def _record(name: str, text: str, error: Exception) -> logging.LogRecord:
    return logging.LogRecord(name, 40, '', 0, text, (), (type(error), error, None))


@pytest.mark.parametrize(
    ('name', 'text', 'error'),
    [
        (DECODER, 'Failed to process message ...', ValueError('no\nJSON')),
        (
            SERVER,
            'Exception during message handling',
            oslo_messaging.NoSuchMethod('no\nJSON'),
        ),
    ],
)
def test_a_bad_query_is_one_line_and_then_none(name, text, error):
    quiet = chatter.Filter()
    first, second = (_record(name, text, error) for _ in range(2))

    assert quiet.filter(first)
    assert not quiet.filter(second)
    line = logging.Formatter().format(first)
    assert line.startswith(text)
    assert '\n' not in line
    assert 'no JSON' in line


def test_what_goes_wrong_in_a_method_keeps_its_traceback():
    record = _record(SERVER, 'Exception during message handling', KeyError('x'))

    assert chatter.Filter().filter(record)
    assert logging.Formatter().format(record).endswith("KeyError: 'x'")


def test_kinds_of_errors_and_other_lines_do_not_hide_each_other():
    quiet = chatter.Filter()
    text = 'Exception during message handling'
    assert quiet.filter(_record(SERVER, text, KeyError('x')))

    assert quiet.filter(_record(SERVER, text, ValueError('x')))
    for _ in range(2):
        assert quiet.filter(_record(SERVER, 'Something else', KeyError('x')))
