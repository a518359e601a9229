# SPDX-License-Identifier: Apache-2.0
"""What travels on the bus: frames, requests and reports."""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import Any

from guestagent import extension
from guestagent.agent import registry as registries
from guestagent.agent import request as requests
from guestagent.agent import rpc
from guestagent.agent.steps import version
from guestagent.bus import base, envelope, framing
from guestagent.conductor import report
from tests.fuzz import registry


@registry.target(
    framing.encode({'op': 'publish', 'exchange': 'a', 'topic': 'b'}, b'{}'),
    framing.encode({'op': 'ack', 'tags': [1]}) + framing.encode({'op': 'x'}, b'\n'),
    b'\xff0000000200000000{}',
)
def framing_decoder(data: bytes) -> None:
    """A stream is the same frames however it is cut, and holds no more than it may."""
    whole, cut = framing.Decoder(1000), framing.Decoder(1000)
    frames = list(whole.feed(data))
    again = [frame for at in range(len(data)) for frame in cut.feed(data[at : at + 1])]
    assert [(one.header, one.body) for one in frames] == [
        (one.header, one.body) for one in again
    ] or b'NaN' in data  # which is not itself
    assert (whole.skipped, whole.broken) == (cut.skipped, cut.broken)
    assert whole.pending == cut.pending <= 1000 + framing.HEADER_MAX + 17
    good = framing.encode({'op': 'good'})
    assert [frame.op for frame in whole.feed(good)][-1] == 'good'


@registry.target(b'{"op":"publish","id":[1]}\nbody', b'{"op":"x"}')
def framing_header(data: bytes) -> None:
    """A frame whose bytes are whole, with anything in it, is a frame or is skipped."""
    data = data.replace(b'\xff', b'')
    stream = b'\xff%08x%08x%b' % (len(data), zlib.crc32(data), data)
    decoder = framing.Decoder(100_000)
    frames = list(decoder.feed(stream))
    assert len(frames) == 1 or (decoder.broken, decoder.skipped) == (1, len(stream))
    for frame in frames:
        assert isinstance(frame.op, str)


class _Bus(base.Bus):
    def is_gone(self, queue: str) -> bool:
        return False

    def reply_at_once(self, reply: base.Reply) -> bool:
        _check_reply(reply.body)
        return True

    def reply(self, reply: base.Reply, done: Any = None) -> None:
        _check_reply(reply.body)


class _Delivery(base.Delivery):
    def __init__(self, body: bytes) -> None:
        super().__init__(None)
        self._body = body

    def read(self) -> envelope.Message:
        return envelope.read(self._body)

    def acknowledge(self) -> None:
        pass


def _check_reply(body: str) -> None:
    body.encode()
    assert '_msg_id' in json.loads(json.loads(body)['oslo.message'])


class _Served(extension.Extension):
    @extension.command(mutates=False)
    def read(self, context: extension.Context, text: str = '') -> str:
        """Return the text."""
        return text


_known = registries.Registry(None, extension.Host())
_known.add('served', registries.Loaded('served', _Served('served', None, None)))
_version = version.Version(_known)


def _judge(request: requests.Request) -> None:
    """Do what the agent does with each request, as far as the policy."""
    assert len(request.digest) == 64
    try:
        _version.admit(request)
        if request.command is not None and isinstance(request.args, dict):
            request.command.signature.check(request.args)
    except Exception as error:  # noqa: BLE001  (it is the answer, whatever it is)
        outcome = requests.Outcome(requests.FAILED, None, error)
    else:
        outcome = requests.Outcome(requests.DONE, request.args)
    request.door.answer(request, outcome)


_door = rpc.RpcDoor(_Bus.__new__(_Bus), None, _judge, None, 10_000)


def _requests() -> list[bytes]:
    fields = {
        'method': 'read',
        'namespace': 'served',
        'version': '1.0',
        'args': {'text': 'x'},
        '_msg_id': 'm',
        '_reply_q': 'reply_1',
        '_timeout': 5,
        '_unique_id': 'u',
        '_context_guestagent_caller': 'nova',
        '_context_guestagent_command_id': 'c',
    }
    other = {**fields, '_unique_id': None, 'version': '1', 'namespace': None}
    return [
        envelope.wrap(fields).encode(),
        registry.dump(fields),
        envelope.wrap(other).encode(),
    ]


@registry.target_of(_requests)
def request(data: bytes) -> None:
    """Any body of a message is a request with an answer, or is dropped."""
    _door.receive(_Delivery(data))
    too_large = envelope.TooLarge(len(data), 10, data)
    assert too_large.msg_id is None or len(too_large.msg_id) <= 255


_REPORT = {
    'id': 'r',
    'instance': 'vm-1',
    'kind': 'event',
    'generation': 'g',
    'sequence': 1,
    'boot_id': 'b',
    'sent': 1.5,
    'data': {'type': 'a.b', 'at': 1, 'data': {}},
}


@registry.target(
    envelope.notification('p', 'guestagent.event', _REPORT, 'i').encode(),
    registry.dump(
        {'payload': {**_REPORT, 'kind': 'facts', 'data': {'facts': {'a': [1]}}}}
    ),
    registry.dump({'payload': {**_REPORT, 'kind': 'heartbeat', 'data': {}}}),
    registry.dump({'payload': {**_REPORT, 'kind': 'outcome', 'data': {}}}),
)
def report_body(data: bytes) -> None:
    """Any message to the conductor is a report, or is rejected."""
    with contextlib.suppress(report.Rejected):
        found = report.parse(report.payload(data))
        found.instance.encode('ascii')
