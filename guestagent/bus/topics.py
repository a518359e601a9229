# SPDX-License-Identifier: Apache-2.0
"""The names of topics, queues and exchanges (doc/wire.rst, section 1); no I/O."""

import re

from guestagent import errors

CONTROL_EXCHANGE = 'guestagent'
CONDUCTOR_TOPIC = 'guestagent-conductor'
CONDUCTOR_NAMESPACE = 'conductor'
REPORT_TOPIC = 'guestagent_reports'
REPORT_PRIORITY = 'info'

#: How many reports the broker keeps before it rejects more.
REPORT_QUEUE_LENGTH = 1_000_000

#: The RPC context keys that carry a command's identity (section 3).
CONTEXT_COMMAND_ID = 'guestagent_command_id'
CONTEXT_CALLER = 'guestagent_caller'

_INSTANCE = re.compile(r'[A-Za-z0-9_.\-]{1,200}\Z')
_COMMAND_ID = re.compile(r'[A-Za-z0-9_.\-]{1,64}\Z')
#: Without what UTF-8, and so AMQP, does not know.
_REPLY_QUEUE = re.compile(r'reply_[^\ud800-\udfff]+\Z')
#: AMQP's limit for a name, in bytes.
_NAME_BYTES = 255


def check_instance_id(instance_id: str) -> str:
    """Return ``instance_id`` if it may be one.

    :raises guestagent.errors.InvalidArgument: it may not.
    """
    if not _INSTANCE.match(instance_id):
        raise errors.InvalidArgument(
            f'instance id {instance_id!r}: it must be 1 to 200 of A-Z a-z 0-9 _ . -'
        )
    return instance_id


def is_command_id(value: object) -> bool:
    """Whether ``value`` may be a caller's command id."""
    return isinstance(value, str) and _COMMAND_ID.match(value) is not None


def is_reply_queue(value: object) -> bool:
    """Whether a reply may go to this queue: the address is the caller's word."""
    return (
        isinstance(value, str)
        and _REPLY_QUEUE.match(value) is not None
        and len(value.encode()) <= _NAME_BYTES
    )


def request_topic(instance_id: str) -> str:
    """Return the topic on which an instance takes its requests."""
    return f'guestagent.{instance_id}'


def report_queue(report_topic: str = REPORT_TOPIC) -> str:
    """Return the queue, and the routing key, of reports."""
    return f'{report_topic}.{REPORT_PRIORITY}'


def publisher_id(instance_id: str) -> str:
    """Return who a report says it is from."""
    return f'guestagent.{instance_id}'
