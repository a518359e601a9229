# SPDX-License-Identifier: Apache-2.0
"""What the log says of a broker that refuses."""

import re
import ssl

import amqp
import pytest

from guestagent.bus import reasons


def refusal(text):
    return amqp.PreconditionFailed(text, (40, 10))


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        (
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'ga' in "
            "vhost '/': received 'false' but current is 'true'",
            "another program has declared exchange 'ga' with durable true, not false: "
            'set [oslo_messaging_rabbit] amqp_durable_queues as that has it, or '
            'delete that exchange in RabbitMQ',
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in "
            "vhost 'v': received none but current is the value 'quorum' of type "
            "'longstr'",
            "another program has declared queue 'q' with x-queue-type quorum, not "
            'none: set [oslo_messaging_rabbit] rabbit_quorum_queue as that has it, or '
            'delete that queue in RabbitMQ',
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'reports' "
            "in vhost '/': received 'true' but current is 'false'",
            "another program has declared exchange 'reports' with durable false, not "
            'true: delete that exchange in RabbitMQ',
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for exchange "
            "'ga_fanout' in vhost '/': received 'true' but current is 'false'",
            "another program has declared exchange 'ga_fanout' with auto_delete "
            'false, not true: delete that exchange in RabbitMQ',
        ),
    ],
)
def test_other_flags_are_named_with_their_option(text, says):
    assert reasons.explain(refusal(text), report_exchange='reports') == says


def test_another_refusal_is_said_as_it_came():
    assert reasons.explain(refusal('PRECONDITION_FAILED - odd\nthing')) == (
        'Exchange.declare: (406) PRECONDITION_FAILED - odd thing'
    )


def test_an_error_without_words_has_its_name():
    assert reasons.explain(TimeoutError()) == 'TimeoutError'


@pytest.mark.parametrize(
    ('reason', 'says'),
    [
        ('WRONG_VERSION_NUMBER', 'no TLS; is this the port'),
        ('TLSV13_ALERT_CERTIFICATE_REQUIRED', 'alert certificate required.*cert_file'),
        ('UNSUPPORTED_PROTOCOL', 'TLS failed: '),
    ],
)
def test_errors_of_tls_say_whose_side_it_is(reason, says):
    error = ssl.SSLError(1, f'[SSL: {reason}] text')
    error.reason = reason

    assert re.search(says, reasons.explain(error))
