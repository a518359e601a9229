# SPDX-License-Identifier: Apache-2.0
"""The body of a message, as oslo.messaging's own drivers write and read it; no I/O.

What they call for it makes a new encoder for each text, and each call has several.
"""

from __future__ import annotations

import json
from typing import Any

from oslo_messaging._drivers import amqp as rpc_amqp
from oslo_messaging._drivers import common as rpc_common

from guestagent import jsontext
from guestagent.bus import envelope

_encode = json.JSONEncoder(
    default=rpc_common.jsonutils.to_primitive, separators=(',', ':')
).encode

_VERSION, _MESSAGE = 'oslo.version', 'oslo.message'


def write(message: dict[str, Any], enveloped: bool = True) -> bytes:
    """Return a message as it travels, with an id of this sending in it."""
    message[rpc_amqp.UNIQUE_ID] = envelope.unique_id()
    text = _encode(message)
    if enveloped:
        text = _encode({_VERSION: envelope.VERSION, _MESSAGE: text})
    return text.encode()


def read(body: bytes) -> Any:
    """Return what :func:`write`, or another driver, was given.

    :raises ValueError, TypeError, RPCException: it is no message.
    """
    found = jsontext.loads(body.decode())
    if isinstance(found, dict) and found.get(_VERSION) == envelope.VERSION:
        text = found.get(_MESSAGE)
        if isinstance(text, str):
            return jsontext.loads(text)
    return rpc_common.deserialize_msg(found)
