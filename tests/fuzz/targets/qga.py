# SPDX-License-Identifier: Apache-2.0
"""What clients of qemu-ga send, and its configuration."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from guestagent_qga import checking as qga_checking
from guestagent_qga import errors as qga_errors
from guestagent_qga import requests as qga_requests
from guestagent_qga import schema as qga_schema
from guestagent_qga import stream as qga_stream_reader
from guestagent_qga.standalone import options as qga_options

from tests.fuzz import registry


def _answers(*pieces: bytes) -> list[str]:
    """Return what each message of a stream is, as text: some are NaN, or too deep."""
    made = qga_stream_reader.Stream()
    found = [each for piece in pieces for each in made.feed(piece)]
    return [_shown(each) for each in found]


def _shown(found: Any) -> str:
    if isinstance(found, qga_stream_reader.Bad):
        return found.text
    try:
        return json.dumps(found)
    except RecursionError:
        return 'deep'


@registry.target(
    b'{"execute":"guest-ping"}\n',
    b'{"execute": "guest-sync", "arguments": {"id": 1600}, "id": ["x", 1.5e3]}\n',
    b"{'execute':'guest-exec','arguments':{'path':'\\u00e9','arg':[true,null]}}",
    b'\xff{"execute":"guest-file-write","arguments":{"handle":1,"buf-b64":"QUFB"}}',
)
def qga_stream(data: bytes) -> None:
    """Where it is cut, and which of two readers it is, makes no difference."""
    # A word and a number end with what follows.
    data += b'\n'
    whole = _answers(data)
    assert _answers(*(data[at : at + 1] for at in range(len(data)))) == whole
    exact = qga_stream_reader._Exact().feed(data)
    assert list(map(_shown, exact)) == whole
    # What clients do to begin anew works after anything.
    assert _answers(data, b'\xff\n{"a":1}')[-1] == '{"a": 1}'


@registry.target(
    b'{"execute":"guest-ping","arguments":{},"id":1}',
    b'{"execute":"guest-set-vcpus","arguments":{"vcpus":[{"logical-id":1,"online":1}]}}',
    b'{"execute":"guest-exec","arguments":{"path":"x","capture-output":"merged"}}',
    b'{"execute":"guest-set-memory-blocks","arguments":{"mem-blks":[{"phys-index":1}]}}',
)
def qga_request(data: bytes) -> None:
    """A request fits the table, or an error says why it does not."""
    for message in qga_stream_reader.Stream().feed(data):
        if isinstance(message, qga_stream_reader.Bad):
            continue
        with contextlib.suppress(qga_errors.CommandError, RecursionError):
            request = qga_requests.read(message)
            command = qga_schema.COMMANDS.get(request.name)
            if command is not None:
                checked = qga_checking.check(command, request.arguments)
                needed = [each.name for each in command.arguments if not each.optional]
                assert set(needed) <= set(checked) == set(request.arguments)


@registry.target(
    b'[general]\ndaemon=true\nmethod = unix-listen\nblock-rpcs=a,b\n#c\n[x]\ny=z\n',
    b'[general]\npath=/x\nfsfreeze-hook=/h\nverbose=0\n',
)
def qga_key_file(data: bytes) -> None:
    """A dump of what was read says the same."""
    found = qga_options.Options()
    with contextlib.suppress(qga_options.UsageError):
        qga_options.read(data.decode('utf-8', 'replace'), found)
        again = qga_options.Options()
        qga_options.read(found.dump(), again)
        assert again.dump() == found.dump()
