# SPDX-License-Identifier: Apache-2.0
"""What is fed with hostile input, and what must hold whatever comes.

A target takes bytes and raises if a promise is broken.  Its seeds are good input, of
which bad input is made; what else is worth trying stands in ``corpus/NAME``.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import pathlib
import re
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from guestagent_accounts import keylines
from guestagent_datastore.backups import sealing
from guestagent_datastore.engines.postgresql import probe
from guestagent_datastore.engines.redis import client as redis
from guestagent_monitoring import collectd, definitions
from guestagent_monitoring.collectors import containers, users
from guestagent_qga import checking as qga_checking
from guestagent_qga import errors as qga_errors
from guestagent_qga import requests as qga_requests
from guestagent_qga import schema as qga_schema
from guestagent_qga import stream as qga_stream_reader
from guestagent_qga.standalone import options as qga_options
from guestagent_sso import offer as sso_offer
from guestagent_sso import wire as dbus
from guestagent_trove import sealing as trove

from guestagent import errors, extension
from guestagent.agent import recordformat, registry, rpc
from guestagent.agent import request as requests
from guestagent.agent.audit import chain
from guestagent.agent.isolation import hello, stdio
from guestagent.agent.journal import records
from guestagent.agent.policy import rules
from guestagent.agent.policy import text as policies
from guestagent.agent.steps import version
from guestagent.bus import base, envelope, framing
from guestagent.conductor import report
from guestagent.seal import caller, contents, guest, keys, value, window

CORPUS = pathlib.Path(__file__).parent / 'corpus'

NOW = 1_800_000_000_000
_LIMITS = window.Limits(86_400_000, 60_000)


class Target(NamedTuple):
    """One thing that reads what others wrote."""

    function: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS: dict[str, Target] = {}


def _target(*seeds: bytes) -> Callable[[Callable[[bytes], None]], Any]:
    return _target_of(lambda: list(seeds))


def _target_of(
    seeds: Callable[[], list[bytes]],
) -> Callable[[Callable[[bytes], None]], Any]:
    def register(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[function.__name__] = Target(function, seeds)
        return function

    return register


def inputs(name: str) -> list[bytes]:
    """Return a target's seeds, and what is kept for it in the tree."""
    folder = CORPUS / name
    kept = sorted(folder.iterdir()) if folder.exists() else []
    return [*TARGETS[name].seeds(), *(path.read_bytes() for path in kept)]


def _dump(found: Any) -> bytes:
    return json.dumps(found).encode()


# Frames of the channel


@_target(
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


@_target(b'{"op":"publish","id":[1]}\nbody', b'{"op":"x"}')
def framing_header(data: bytes) -> None:
    """A frame whose bytes are whole, with anything in it, is a frame or is skipped."""
    data = data.replace(b'\xff', b'')
    stream = b'\xff%08x%08x%b' % (len(data), zlib.crc32(data), data)
    decoder = framing.Decoder(100_000)
    frames = list(decoder.feed(stream))
    assert len(frames) == 1 or (decoder.broken, decoder.skipped) == (1, len(stream))
    for frame in frames:
        assert isinstance(frame.op, str)


# Requests


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


_known = registry.Registry(None, extension.Host())
_known.add('served', registry.Loaded('served', _Served('served', None, None)))
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
        _dump(fields),
        envelope.wrap(other).encode(),
    ]


@_target_of(_requests)
def request(data: bytes) -> None:
    """Any body of a message is a request with an answer, or is dropped."""
    _door.receive(_Delivery(data))
    too_large = envelope.TooLarge(len(data), 10, data)
    assert too_large.msg_id is None or len(too_large.msg_id) <= 255


# Seals.  A key that is always the same, so that what is found can be found again.

_MASTER = keys.Line(keys.COMMANDS, 'nova', True, bytes(range(32)))
_LINES = [_MASTER.derive('vm-1'), _MASTER._replace(use=keys.REPORTS).derive('vm-1')]
_RING = keys.GuestRing(_LINES)
_KEY = _RING._keys[0]
_PLAIN = contents.write_command(
    contents.Command(
        *('nova', 'vm-1', 'exec', 'run', '1.0', {'argv': ['id']}, {}, 'c-1'),
        *(NOW, NOW + 60_000, True, ''),
    )
)


def _seal(purpose: bytes, bound: bytes, plain: bytes) -> str:
    return value.encode(_KEY.to_guest.seal(purpose, bound, plain))


#: What was sealed here: it may open, and nothing else.
_GOOD = _seal(value.COMMAND, b'vm-1', _PLAIN).encode()


@_target(_GOOD, _GOOD[:40], b'AQ==' + _GOOD)
def sealed_value(data: bytes) -> None:
    """Nothing opens but what was sealed."""
    made = guest.Guest('vm-1', _RING, _LIMITS)
    with contextlib.suppress(guest.Unanswered):
        opened = made.open(data.decode('latin-1'), NOW)
        assert opened.command == contents.read_command(_PLAIN)
    with contextlib.suppress(value.Broken):
        caller.open_report(
            keys.MasterRing([_MASTER], keys.COMMANDS), 'vm-1', data.decode('latin-1'), 1
        )
        raise AssertionError('that was no report')


@_target(_PLAIN, _PLAIN.replace(b'nova', b'\\ud800'), b'{}', b'[1]')
def sealed_command(data: bytes) -> None:
    """Whatever a caller has sealed, it is a command, or gets no answer."""
    made = guest.Guest('vm-1', _RING, _LIMITS)
    try:
        opened = made.open(_seal(value.COMMAND, b'vm-1', data), NOW)
    except guest.Unanswered:
        assert not len(made.window)
        return
    command = opened.command
    assert (command.caller, command.instance) == ('nova', 'vm-1')
    if opened.refusal is None:
        again = window.Window(_LIMITS)
        for record in made.window.records():
            again.replay(record)
        assert again.judge(opened.seal, NOW) is window.Verdict.REPEATED
    opened.reply([command.args, command.context], None, 10_000)
    opened.reply(None, opened.refusal or errors.Forbidden(str(command.method)), 10_000)


def _replies() -> list[bytes]:
    skew = envelope.describe(errors.ClockSkew('x', 1.5, 'epoch'))
    return [
        contents.write_result('c-1', {'a': 1}),
        contents.write_failure('c-1', skew),
        contents.write_failure('c-1', envelope.describe(ValueError('x'))),
    ]


@_target_of(_replies)
def sealed_reply(data: bytes) -> None:
    """Whatever a guest has sealed as an answer, its callers can go on."""
    made = caller.Caller(keys.MasterRing([_MASTER], keys.COMMANDS))

    def send() -> caller.Sent:
        return made.seal(
            *('vm-1', 'exec', 'run', '1.0', {}, {}, 'c-1'),
            waits=True,
            lifetime=60.0,
            now=NOW / 1000,
        )

    sent = send()
    answer = value.encode(_KEY.from_guest.seal(value.REPLY, sent.nonce, data))
    with contextlib.suppress(errors.NotSealed):
        _, failure = made.open(sent, answer)
        if failure is not None and made.adjust(sent, failure):
            again = send().command
            assert 0 <= again.stamp <= again.expiry < 2**53


@_target_of(lambda: [f'# x\n{_LINES[0]}\n'.encode(), str(_LINES[0].ending(1)).encode()])
def key_file(data: bytes) -> None:
    """A file of keys is keys, or an error that shows none."""
    text = data.decode('latin-1')
    try:
        found = keys.parse(text, 'file')
    except errors.ConfigError as error:
        said = str(error)
        assert not [word for word in text.split() if len(word) > 20 and word in said]
        return
    assert [one for line in found for one in keys.parse(str(line), '')] == found


_ENTRY = window.Window.record(window.Seal('commands nova', True, bytes(24), 1, 2))


@_target(_ENTRY, b'Eepoch', b'F' + bytes(17) + b'x', b'D' + bytes(17))
def replay_record(data: bytes) -> None:
    """A record of the replay window is taken, or is a ValueError; it stays in order."""
    made = window.Window(_LIMITS)
    with contextlib.suppress(ValueError):
        made.replay(data)
    made.start(NOW, 1000)
    for record in made.records():
        window.Window(_LIMITS).replay(record)


# Policy

_POLICY = """
[expected]
commands = exec.*, monitoring.*, file.read
[rule some]
callers = nova, plain:ops*, !plain:opsx
commands = exec.run, !exec.kill
arg.argv = /bin/ls -l * ...
arg.argv = !/bin/ls -l /etc/**
arg.user = "a*"
arg.user = b*c*d
arg.user = null
arg.env = LANG=*
arg.env = !LANG=C
arg.* = 60
arg.* = true
[rule paths]
callers = *
commands = file.*
arg.path = /srv/**
arg.path = !/srv/secret/**
"""


@_target(
    _POLICY.encode(),
    b'[rule x]\ncallers = a\ncommands = *\narg.a = [[1]]',
    b'[rule x]\ncallers=a\ncommands=a.b\narg.a=' + b'[' * 2000,
)
def policy_file(data: bytes) -> None:
    """A text is a policy that decides, or a mistake that is told with its line."""
    try:
        made = policies.parse(data.decode('utf-8', 'replace'), 'file')
    except errors.ConfigError as error:
        said = str(error)
        assert said.startswith('file')
        return
    for args in ({}, {'a': '/x/../y', 'b': ['x', 1, None]}, None, {'a': {'b': 1}}):
        _decide(made, args)


_policy = policies.parse(_POLICY, 'fuzz')


@_target(
    _dump({'argv': ['/bin/ls', '-l', 'x'], 'user': 'a*', 'env': {'LANG': 'x'}}),
    _dump({'path': '/srv/x'}),
    _dump({'path': {'/srv/../x': 1}}),
    _dump({'path': ['/srv/x/']}),
    _dump({'path': '/srv/../etc/shadow', 'x': 60.0, 'y': True}),
)
def policy_arguments(data: bytes) -> None:
    """Any arguments are decided on, and a path that leads elsewhere is refused."""
    try:
        args = json.loads(data)
    except (ValueError, RecursionError):
        return
    _decide(_policy, args)
    if _policy.find(rules.Caller('x', True), 'file.read', args):
        path = args['path']
        for each in [path] if isinstance(path, str) else path:
            assert each.startswith('/srv/')
            assert os.path.normpath(each) == each
            assert not each.startswith('/srv/secret/')


def _decide(policy: rules.Policy, args: Any) -> None:
    for who in (rules.Caller('nova', True), rules.Caller('ops\ud800', False)):
        for command in ('exec.run', 'file.read', 'a.b'):
            rule = policy.find(who, command, args)
            decision = policy.decide(who, command, args)
            assert decision.allowed == (rule is not None)


# What is kept on the disk

_HEADER = recordformat.Header(b'journal', 1, 7)
_FRAMES = _HEADER.encode() + _HEADER.frame(b'one') + _HEADER.frame(b'two')


@_target(_FRAMES, _FRAMES + bytes(20), _FRAMES[:-1], _FRAMES + b'\xffrec' + _FRAMES)
def record_file(data: bytes) -> None:
    """A damaged file gives records that were written, and counts the rest."""
    try:
        parser = recordformat.Parser(data)
    except recordformat.Damaged:
        return
    size = recordformat.HEADER_SIZE
    for at, payload in parser:
        assert data[at:].startswith(parser.header.frame(payload))
        size += recordformat.FRAME_SIZE + len(payload)
    assert size + parser.skipped == parser.end <= len(data)
    assert parser.end + parser.dropped <= len(data)


@_target_of(lambda: [_HEADER.frame(b'payload')])
def journal_record(data: bytes) -> None:
    """A record of the journal is one, or is a ValueError."""
    with contextlib.suppress(ValueError):
        records.head(data)
        for read in (records.accepted, records.ended):
            with contextlib.suppress(ValueError):
                read(data)


_LINE = chain.Chain().add([{'kind': 'decision', 'command': 'exec.run'}])


@_target(_LINE, _LINE.replace(b'run', b'ran'), b'\n', _LINE + _LINE)
def audit_lines(data: bytes) -> None:
    """Lines of an audit log follow each other, or it is said where they do not."""
    with contextlib.suppress(chain.Broken):
        for number, record in enumerate(
            chain.follow(data.decode('utf-8', 'replace').splitlines()), 1
        ):
            assert record.head.length >= number


# Extensions in processes of their own

_HELLO = {
    'type': 'hello',
    'protocol': 1,
    'version': '1.0',
    'doc': 'x',
    'needs_root': '',
    'commands': {
        'read': {
            'mutates': False,
            'timeout': None,
            'arguments': [
                {'name': 'a', 'type': {'union': ['str', {'list': 'int'}]}},
                {'name': 'b', 'type': {'literal': ['x', 1]}, 'default': 1},
            ],
            'returns': {'dict': 'any'},
        }
    },
    'periodics': {'watch': {'spacing': 60, 'option': 'period', 'jitter': 0.1}},
    'options': {'period': {'default': '60', 'secret': True}},
}


@_target(
    stdio.encode(_HELLO),
    b'{"type":"error","id":1,"error":"KeyError","message":"x"}\n{"type":"x"}\n',
    stdio.encode({**_HELLO, 'commands': {'x': {'mutates': True, 'timeout': 1e400}}}),
    b'{"type":"error","error":"ExceptionGroup"}\n{"type":"error","error":"\\u0000"}\n',
)
def stdio_lines(data: bytes) -> None:
    """What a process writes is messages, or breaks the protocol; so is its hello."""
    with contextlib.suppress(stdio.Broken):
        for message in _messages(data):
            error = stdio.error(message)
            assert str(error) == str(message.get('message', ''))
            with contextlib.suppress(stdio.Broken):
                hello.read(message)


def _messages(data: bytes) -> Iterator[stdio.Message]:
    lines, cut = stdio.Lines(1000), stdio.Lines(1000)
    middle = len(data) // 2
    yield from lines.feed(data)
    for half in (data[:middle], data[middle:]):
        for message in cut.feed(half):
            assert isinstance(message['type'], str)


# Reports

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


@_target(
    envelope.notification('p', 'guestagent.event', _REPORT, 'i').encode(),
    _dump({'payload': {**_REPORT, 'kind': 'facts', 'data': {'facts': {'a': [1]}}}}),
    _dump({'payload': {**_REPORT, 'kind': 'heartbeat', 'data': {}}}),
    _dump({'payload': {**_REPORT, 'kind': 'outcome', 'data': {}}}),
)
def report_body(data: bytes) -> None:
    """Any message to the conductor is a report, or is rejected."""
    with contextlib.suppress(report.Rejected):
        found = report.parse(report.payload(data))
        found.instance.encode('ascii')


# Backups

_BACKUP_KEY = bytes(range(32))
_BACKUPS = (b'', b'a little', bytes(sealing.CHUNK), bytes(2 * sealing.CHUNK + 5))


def _sealed_backups() -> list[bytes]:
    made = []
    for plain in _BACKUPS:
        sealer = sealing.Sealer(_BACKUP_KEY)
        made.append(sealer.feed(plain) + sealer.finish())
    return made


@_target_of(_sealed_backups)
def sealed_backup(data: bytes) -> None:
    """What opens as a backup was sealed as one, however it is cut."""
    assert _open_backup(data, 1 << 20) == _open_backup(data, 1000)


def _open_backup(data: bytes, step: int) -> bytes | None:
    opener = sealing.Opener({sealing.name_of(_BACKUP_KEY): _BACKUP_KEY})
    try:
        pieces = [opener.feed(data[at : at + step]) for at in range(0, len(data), step)]
        plain = b''.join([*pieces, opener.finish()])
    except errors.StorageError:
        return None
    assert plain in _BACKUPS
    return plain


@_target(b'+OK\r\n', b':1\r\n', b'*2\r\n$1\r\na\r\n*-1\r\n', b'-ERR\r\n', b'$-1\r\n')
def redis_answer(data: bytes) -> None:
    """A result of few bytes, or a closed connection: a server may be anybody's."""
    stream = io.BytesIO(data)
    with contextlib.suppress(ConnectionError):
        while True:
            redis.read_result(stream)


_READY = b'R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I'


@_target(
    _READY,
    _READY + b'D\0\0\0\x04Z\0\0\0\x05I',
    b'E\0\0\0\x0cC57P03\0\0',
    b'Z\0\0\0\x03',
)
def postgresql_answer(data: bytes) -> None:
    """Healthy, refused, or a closed connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:65536])
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError, probe.Refused):
            probe.converse(ours, 'os_admin', time.monotonic() + 60)


_TROVE = trove.Seal('vm', os.urandom(16).hex())
_TROVE_CONTEXT = {'context': _TROVE.reply({'user': 'me'})}


@_target(
    _dump({'args': {'limit': _TROVE.reply(1)}, 'context': _TROVE_CONTEXT}),
    _dump({'args': {}, 'context': {'user': 'me'}}),
    _dump({'args': {'limit': 1}, 'context': _TROVE_CONTEXT}),
)
def trove_request(data: bytes) -> None:
    """What opens as Trove's has its context, or it is refused."""
    try:
        found = json.loads(data)
        args, context = found['args'], dict(found['context'])
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    try:
        opened = _TROVE.open(args, context)
    except errors.Refused:
        return
    assert isinstance(opened.values, dict)
    assert opened.caller == trove.CALLER


_SSH = 'ssh-ed25519 ' + base64.b64encode(b'\0\0\0\x0bssh-ed25519' + bytes(4)).decode()


@_target(
    f'# mine\nno-pty,command="a \\"b c" {_SSH} me\n'.encode(),
    f'{_SSH}\n\n{_SSH} \xff'.encode('latin-1'),
)
def authorized_keys(data: bytes) -> None:
    """A user's file: what is no key, or another, stays; what is added can be taken."""
    lines = data.decode('utf-8', 'surrogateescape').split('\n')
    for line in lines:
        parsed = keylines.parse(line)
        assert parsed is None or parsed.key.blob in line
    left = keylines.without(lines, [_SSH])
    assert [line for line in lines if line in left] == left
    assert keylines.added(left, [_SSH]) == [_SSH]
    assert keylines.without([*left, f'no-pty {_SSH} me'], [_SSH]) == left
    with contextlib.suppress(errors.InvalidArgument):
        for line in keylines.check(lines):
            assert '\n' not in line
            assert keylines.parse(line) is not None


_CONTAINER = {'Id': 'a', 'Names': ['/b'], 'Command': 'c d', 'State': 'running'}


@_target(
    b'HTTP/1.0 200 OK\r\n\r\n' + _dump([_CONTAINER, _CONTAINER]),
    b'HTTP/1.0 200 OK\r\nLibpod-Api-Version: 4\r\n\r\n[]',
    b'HTTP/1.0 500 No\r\n\r\n{}',
)
def container_answer(data: bytes) -> None:
    """What an engine tells can be sent, or is refused."""
    with contextlib.suppress(ValueError):
        for found in containers.read(data):
            json.dumps(found)
            assert all(isinstance(name, str) for name in found['names'])
            assert ' ' not in found['program']


class _Said:
    """A connection on which a server says this, whatever it is asked."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.recv = self._file.read

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        assert data.endswith(b'\n')


@_target(
    b'2 Values found\n1.5 web/load/load\n1.5 web/df-root/df_complex-free\n'
    b'1 Value found\nvalue=5e+03\n2 Values found\nshort=1\nlong=NaN\n'
)
def collectd_values(data: bytes) -> None:
    """What collectd tells are numbers under keys of ours, or it is refused."""
    with contextlib.suppress(OSError, ValueError):
        values, problems = collectd.read(_Said(data), ['*'], 'web')
        assert len(values) <= collectd.COUNT_MAX
        json.dumps(values, allow_nan=False)
        for key in (*values, *problems):
            assert re.fullmatch(r'[a-z0-9_.-]{1,200}', key)


@_target(struct.pack('=hxxi32s4s32s256s', 7, 1, b'pts/0', b'ts/0', b'me', b'') * 2)
def login_records(data: bytes) -> None:
    """Who is logged in can be sent, whatever the file holds."""
    for found in users.read_utmp(data):
        json.dumps(found)
        assert found['login_time'] is not None


@_target(
    b'command = echo 1\ntype = integer\nunit = x\n',
    b'file = /x\npattern = ^(\\d+)\nperiod = 5\nstep = 2\n',
)
def statistic(data: bytes) -> None:
    """A definition that is taken has limits, and reads a value or refuses it."""
    lines = data.decode('utf-8', 'replace').split('\n')
    fields = dict(line.split(' = ', 1) for line in lines if ' = ' in line)
    # Whoever may define one may also write a pattern that takes for ever.
    fields.pop('pattern', None)
    with contextlib.suppress(ValueError):
        found = definitions.define('key', fields)
        assert 0 < found.timeout <= definitions.TIMEOUT_MAX
        assert found.period > 0
        assert bool(found.command) != bool(found.file)
        json.dumps(found.read('12'))


# What clients of qemu-ga send


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


@_target(
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


@_target(
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


@_target(
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


@_target_of(
    lambda: [
        dbus.encode(
            dbus.Message(
                dbus.SIGNAL,
                *('/org/freedesktop/login1', 'org.freedesktop.login1.Manager', 'New'),
                signature='a{sv}a(so)b',
                body=({'k': dbus.Variant('as', ['v'])}, [('1', '/a')], True),
            )
        )
    ]
)
def dbus_message(data: bytes) -> None:
    """A message is as long as its beginning says, or malformed."""
    with contextlib.suppress(dbus.Malformed):
        found = dbus.decode(data)
        assert dbus.measure(data[: dbus.FIXED]) == len(data)
        assert len(found.body) == len(dbus.split(found.signature))


@_target(b'1\0' + b'x' * 43 + b'\0seat0\0alice\0', b'1\0\0seat0\0\0')
def sso_request(data: bytes) -> None:
    """Nobody gets credentials who has not the token, or takes them from who has."""
    offered = sso_offer.Offer('alice', 'hunter2', 'seat0', without_token=False)
    assert offered.answer(data) is None
    good = data.replace(b'x' * 43, offered.token.encode())
    answer = offered.answer(good)
    if answer is None:
        good = f'1\0{offered.token}\0seat0\0\0'.encode()
        answer = offered.answer(good)
    assert answer == b'1\0alice\0hunter2\0'
    assert offered.answer(good) is None
