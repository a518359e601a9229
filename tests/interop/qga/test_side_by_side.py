# SPDX-License-Identifier: Apache-2.0
"""Debian's qemu-ga and ours are sent the same, and must answer the same.

Where they differ is written down in ``differences.csv``, which the documentation shows.
"""

import base64
import csv
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.interop.qga import agents

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(
        not pathlib.Path(agents.QEMU_GA).exists(), reason='qemu-guest-agent is missing'
    ),
]

TABLE = pathlib.Path(__file__).with_name('differences.csv')


class Pair(NamedTuple):
    """A client of each."""

    theirs: agents.Client
    ours: agents.Client

    def answers(self, data: bytes) -> tuple[list[Any], list[Any]]:
        return self.theirs.answers(data), self.ours.answers(data)


@pytest.fixture(scope='module')
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp('side-by-side')
    with (
        agents.running(agents.QEMU_GA, folder / 'theirs') as (_, theirs),
        agents.running(agents.OURS, folder / 'ours') as (_, ours),
    ):
        made = Pair(agents.Client(theirs), agents.Client(ours))
        yield made
        made.theirs.close()
        made.ours.close()


def _desc(answer: Any) -> str:
    return answer.get('error', {}).get('desc', '') if isinstance(answer, dict) else ''


def _both(pattern: str, other: str) -> Callable[[Any, Any], bool]:
    def differ(theirs: Any, ours: Any) -> bool:
        return bool(
            re.fullmatch(pattern, _desc(theirs)) and re.fullmatch(other, _desc(ours))
        )

    return differ


#: What may differ in single answers, by the names in the table.
DIFFERENCES: dict[str, Callable[[Any, Any], bool]] = {
    'which of several': lambda theirs, ours: (
        any(
            re.fullmatch(text, _desc(theirs)) and re.fullmatch(text, _desc(ours))
            for text in (
                r"Parameter '.*' is unexpected",
                r"QMP input member '.*' is unexpected",
            )
        )
        or (
            _desc(theirs).startswith('QMP input ')
            and _desc(ours).startswith('QMP input ')
        )
    ),
    'disabled': _both(
        r'Command (\S+) has been disabled',
        r'Command (\S+) has been disabled: the command is not allowed',
    ),
    'program': _both(
        r"Guest agent command failed, error was '(Failed to execute .*)'",
        r'Failed to execute child process .*',
    ),
    'pid': _both("Invalid parameter 'pid'", r'PID -?\d+ does not exist'),
    'capture': _both(
        "Invalid parameter type for 'capture-output', expected: boolean",
        "(Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput"
        "|Parameter 'capture-output' does not accept value '.*')",
    ),
    'commands': _both(
        'Command guest-get-devices has been disabled',
        'The command guest-get-devices has not been found',
    ),
    'user': _both(
        "failed to lookup user '(.*)': Success",
        "user: there is no user '(.*)' in this guest",
    ),
}

#: What is a difference of more than an answer; each has a test of its own below.
OTHERS = {'privileged', 'counters', 'folder', 'padding', 'too large', 'infinite'}


def _differences(theirs: list[Any], ours: list[Any]) -> set[str]:
    """Return which rows of the table two lists of answers need to be the same."""
    assert len(theirs) == len(ours), (theirs, ours)
    needed = set()
    for one, other in zip(theirs, ours, strict=True):
        if one == other:
            continue
        assert one.get('id') == other.get('id'), (one, other)
        names = [name for name, differ in DIFFERENCES.items() if differ(one, other)]
        assert names, f'theirs: {one}\nours:   {other}'
        needed.add(names[0])
    return needed


def _same(pair: Pair, data: bytes, *allowed: str) -> None:
    assert _differences(*pair.answers(data)) == set(allowed)


def test_the_table_names_each_difference():
    with TABLE.open(newline='') as file:
        rows = list(csv.DictReader(file))

    assert {row['name'] for row in rows} == {*DIFFERENCES, *OTHERS}
    assert all(row['qemu-ga 7.2'] and row['here'] and row['why'] for row in rows)


PING = b'{"execute":"guest-ping"}'


def _id(value: bytes) -> bytes:
    return b'{"execute":"guest-ping","id":%b}' % value


def _sync(value: bytes) -> bytes:
    return b'{"execute":"guest-sync","arguments":%b}' % value


SCALARS = [
    *(b'hello\n', b'hello#\n', b'Hello\n', b'1\n', b'-\n', b'-a\n', b'01\n', b'1.5\n'),
    *(b'1.e\n', b'0e5\n', b'1e5 ', b'1e\n', b'1e+\n', b'-0\n', b'"x"', b'nul\n'),
    *(b'null\n', b'true ', b'%s\n', b'"a\tb"', b'"\x80"', b'\xc3\xa9\n', b'"\\q"'),
]
STRINGS = [
    *(b'"a\\qb"', b'"a\\u12G4"', b'"a\\u12"', b'"\\ud800"', b'"\\udc00x"'),
    *(b'"\\ud800\\u0041"', b'"\\ud800\\u00"', b'"\\u0000"', b'"\\uffff"'),
    *(b'"\\ufdd0"', b'"\\ud83f\\udfff"', b'"\xc3\xa9"', b'"\xed\xa0\x80"'),
    *(b'"a\x80b"', b'"\xc3"', b'"\xf4\x90\x80\x80"', b'"\xef\xbf\xbf"'),
    *(b'"\xc0\x80"', b'"\xf0\x9f\x98\x80"', b'"\\\'"', b"'\\\"'", b'"\\a"', b"'a\"'"),
    *(b'"\\\xc3\xa9"', b'"a\\q \x80"', b'"\\U0041"', b'"\x7f"', b'True', b'[1 "a"]'),
]
NUMBERS = [
    *(b'1.50', b'1e100', b'18446744073709551615', b'18446744073709551616', b'-0'),
    *(b'-9223372036854775809', b'0.1', b'1e15', b'123456789.123456789', b'1E-7'),
    *(b'null', b'[1,2,[]]', b'{"z":1,"a":[],"o":{},"b":true}', b'9' * 300),
]
STRUCTURES = [
    *(b'{', b'}', b']', b'[', b'{]', b'{[}', b'{}', b'[]', b'[1 2]', b'[1,]', b'[,1]'),
    *(b'{1:2}', b'{"a" 1}', b'{"a":}', b'{"a":1 "b":2}', b'{"a":1,}', b'{,}', b':'),
    *(b'{"a":1,"a":2}', b'{"a"}', b'{"a":foo}', b'{"a":null}', b',', b'{{}:1}', b'{['),
    *(
        b'{"a":foo,"b":}',
        b'{"a":"\\q" x}',
        b'[1}\n{"a":1}]',
        b'{"a":[}\n',
        b'[}',
        b'[}]',
    ),
    *(
        b'{"a":1]}',
        b'{"a":1}}',
        b'{"a":1}}' + PING,
        b']' + PING,
        b'"foo',
        b'{"a":[}' + PING,
    ),
    *(
        b'[' * 1024,
        b'[' * 1025,
        b'[' * 1024 + b']' * 1024,
        b'{"a":' * 600 + b'1' + b'}' * 600,
    ),
]
STREAMS = [
    *(b'\xff', b'\xfe', PING + b'\xff' + PING, b'{"ex\xff' + PING, PING * 3),
    *(b'{"a":"b\xffc"}\n' + PING, b'{"a":"b\nc"}\n' + PING, b'{"a":"b\n' + PING),
    *(b'!!! ' + PING, b'#@! \n' + PING, b'abc' + PING, b'{"a":1#' + PING, b'\0' + PING),
    *(b'\1\2' + PING, b'\x0b' + PING, b'[[{' + PING, b"{'execute':'guest-ping'}"),
    *(b'{"execute":"guest-sync-delimited","arguments":{"id":7}}' + PING,),
]
MEMBERS = [
    *(b'{"execute":1}', b'{"execute":null}', b'{"id":1}', b'{"id":3,"execute":"no"}'),
    *(b'{"execute":"guest-ping","foo":1}', b'{"foo":1,"execute":"guest-ping"}'),
    *(b'{"exec-oob":"guest-ping"}', b'{"execute":"no","arguments":3}', b'{"a":1}'),
    *(b'{"execute":"guest-ping","arguments":null}', b'{"execute":"a\\u0000b"}'),
    *(b'{"execute":"guest-ping","arguments":{"\xe2\x82\xac":1}}', b'{"\\u0001":1}'),
    *(b'{"execute":"guest-ping","arguments":{}}', b'{"execute":"\xe2\x82\xac"}'),
    *(b'{"execute":"guest-ping","execute":"guest-info"}', b'{"control":1}'),
    *map(_sync, (b'{"id":1.0}', b'{"id":"1"}', b'{"id":null}', b'{}', b'{"id":true}')),
    *map(_sync, (b'{"id":9223372036854775807}', b'{"id":9223372036854775808}')),
    *map(_sync, (b'{"id":-9223372036854775808}', b'{"x":2}', b'{"id":1,"x":2}')),
]


@pytest.mark.parametrize(
    'cases',
    [
        pytest.param(SCALARS, id='scalars'),
        pytest.param(list(map(_id, STRINGS)), id='strings'),
        pytest.param(list(map(_id, NUMBERS)), id='numbers'),
        pytest.param(STRUCTURES, id='structures'),
        pytest.param(STREAMS, id='streams'),
        pytest.param(MEMBERS, id='members'),
    ],
)
def test_what_is_on_the_wire(pair: Pair, cases: list[bytes]):
    for case in cases:
        _same(pair, case)


_PIECES = st.sampled_from(
    [
        *(b'{', b'}', b'[', b']', b',', b':', b'"execute"', b'"arguments"', b'"id"'),
        *(b'"guest-ping"', b"'guest-sync'", b'"', b"'", b'\\', b'\n', b' ', b'1', b'-'),
        *(b'0', b'.5', b'e3', b'true', b'nul', b'\xff', b'\xfe', b'\0', b'#', b'"a"'),
        *(b'\xc3\xa9', b'\x80', b'\\u00', b'\\ud83d\\ude00', b'{"id":1}', PING),
    ]
)


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.lists(_PIECES, max_size=12).map(b''.join))
def test_anything(pair: Pair, data: bytes):
    assert _differences(*pair.answers(data)) <= {'which of several'}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(['', 'set', 'r', 'w+', 'aGVsbG8=', '/', '/nope']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
#: Those that do no harm whatever their arguments are, as long as nothing opens a file.
_HARMLESS = st.sampled_from(
    [
        *('guest-ping', 'guest-sync', 'guest-file-close', 'guest-file-read', 'x'),
        *(
            'guest-file-write',
            'guest-file-seek',
            'guest-file-flush',
            'guest-exec-status',
        ),
        *('guest-fsfreeze-status', 'guest-get-memory-block-info', 'guest-get-devices'),
    ]
)
_NAMES = st.sampled_from(
    ['id', 'handle', 'count', 'offset', 'whence', 'buf-b64', 'pid']
)


@hypothesis.settings(max_examples=150)
@hypothesis.given(
    _HARMLESS, st.dictionaries(_NAMES, st.integers(0, 3) | _VALUES, max_size=4), _VALUES
)
def test_any_arguments(pair: Pair, name: str, arguments: dict[str, Any], echo: Any):
    request = {'execute': name, 'arguments': arguments, 'id': echo}

    found = _differences(*pair.answers(json.dumps(request).encode()))

    assert found <= {'which of several', 'pid', 'commands'}


def test_faults_in_arguments(pair: Pair):
    cpu = {'logical-id': 0, 'online': True}
    block = {'phys-index': 2**64 - 1, 'online': True}
    for line in agents.commands(
        ('guest-file-open', {'path': '/nope', 'mode': 'q'}),
        ('guest-file-open', {'path': '/nope'}),
        ('guest-file-open', {'path': 1, 'mode': 'q'}),
        ('guest-file-open', {'mode': 2}),
        ('guest-exec', {'path': '/bin/true', 'arg': [1]}),
        ('guest-exec', {'path': '/bin/true', 'arg': {}}),
        ('guest-exec', {'path': '/bin/true', 'arg': ['a', None]}),
        ('guest-exec', {'path': '/bin/true', 'input-data': '%%%'}),
        ('guest-set-vcpus', {'vcpus': []}),
        ('guest-set-vcpus', {'vcpus': [{}]}),
        ('guest-set-vcpus', {'vcpus': [{'logical-id': 0}]}),
        ('guest-set-vcpus', {'vcpus': [{**cpu, 'online': 1}]}),
        ('guest-set-vcpus', {'vcpus': [{**cpu, 'x': 1}]}),
        ('guest-set-vcpus', {'vcpus': [1]}),
        ('guest-set-vcpus', {'vcpus': {'a': 1}}),
        ('guest-set-memory-blocks', {'mem-blks': [block]}),
        ('guest-set-memory-blocks', {'mem-blks': [{**block, 'phys-index': 1e3}]}),
        ('guest-set-memory-blocks', {'mem-blks': []}),
        ('guest-file-seek', {'handle': 1, 'offset': 0, 'whence': 'foo'}),
        ('guest-file-seek', {'handle': 1, 'offset': 0, 'whence': True}),
        ('guest-file-seek', {'handle': 1, 'offset': 0, 'whence': 1.0}),
        ('guest-file-seek', {'handle': 1, 'offset': 0}),
        ('guest-file-read', {'handle': 1, 'count': 50331649}),
        ('guest-shutdown', {'mode': 'foo'}),
        ('guest-set-time', {'time': 'x'}),
        ('guest-fstrim', {'minimum': 'x'}),
        ('guest-fsfreeze-freeze-list', {'mountpoints': None}),
        *(
            (
                'guest-set-user-password',
                {'crypted': False, 'username': u, 'password': p},
            )
            for u, p in (('nobody', '%%'), ('no:body', 'YQ=='), ('nobody', 'YQo='))
        ),
    ):
        _same(pair, line)


def test_differences_in_single_answers(pair: Pair):
    for name, line in (
        ('which of several', b'{"execute":"guest-ping","arguments":{"a":1,"b":1}}'),
        ('commands', b'{"execute":"guest-get-devices"}'),
        ('program', b'{"execute":"guest-exec","arguments":{"path":"/nope"}}'),
        ('pid', b'{"execute":"guest-exec-status","arguments":{"pid":1}}'),
        (
            'capture',
            b'{"execute":"guest-exec","arguments":'
            b'{"path":"/bin/true","capture-output":"x"}}',
        ),
        (
            'user',
            b'{"execute":"guest-ssh-get-authorized-keys",'
            b'"arguments":{"username":"nope"}}',
        ),
    ):
        _same(pair, line, name)


def test_an_infinite_id(pair: Pair):
    pair.theirs.send(_id(b'1e400'))
    assert pair.theirs.line() == b'{"return": {}, "id": inf}'
    assert pair.ours.answers(_id(b'1e400'))[0]['id'] == float('inf')


def test_files(pair: Pair, tmp_path: pathlib.Path):
    def in_both(name: str, **arguments: Any) -> Any:
        theirs = pair.theirs.ask(name, **arguments, **_handles(0))
        ours = pair.ours.ask(name, **arguments, **_handles(1))
        assert theirs == ours, (name, arguments)
        return theirs.get('return')

    def _handles(which: int) -> dict[str, int]:
        return {'handle': handles[which]} if handles else {}

    def data(text: bytes) -> str:
        return base64.b64encode(text).decode()

    handles: list[int] = []
    for mode in ('w+', 'wb', 'rb+', 'a+b', 'r'):
        opened = [
            client.ask('guest-file-open', path=str(tmp_path / str(i)), mode=mode)[
                'return'
            ]
            for i, client in enumerate(pair)
        ]
        assert opened[0] == opened[1]
        handles[:] = opened
        in_both('guest-file-write', buf_b64=data(b'hello world'))
        in_both('guest-file-write', buf_b64=data(b'hello world'), count=5)
        in_both('guest-file-write', buf_b64=data(b'hello world'), count=12)
        in_both('guest-file-write', buf_b64=data(b'hello world'), count=-1)
        in_both('guest-file-write', buf_b64='')
        for odd in ('aGVs\nbG8=', 'aGVs bG8=', 'aGVsb', 'aGVsbG8=='):
            in_both('guest-file-write', buf_b64=odd)
        for whence in (0, 1, 2, 9, -1, 'set', 'cur', 'end'):
            in_both('guest-file-seek', offset=0, whence=whence)
        in_both('guest-file-seek', offset=-1, whence='set')
        in_both('guest-file-seek', offset=2, whence='set')
        for count in (0, 4, 48 * 1024 * 1024 + 1, -1, 10, 10000):
            in_both('guest-file-read', count=count)
        in_both('guest-file-read')
        in_both('guest-file-flush')
        in_both('guest-file-close')
        in_both('guest-file-close')
        handles.clear()
    for i in range(2):
        assert (tmp_path / str(i)).stat().st_mode & 0o777 == 0o666
    assert (tmp_path / '0').read_bytes() == (tmp_path / '1').read_bytes()


def test_a_folder_cannot_be_opened_here(pair: Pair, tmp_path: pathlib.Path):
    theirs = pair.theirs.ask('guest-file-open', path=str(tmp_path))
    ours = pair.ours.ask('guest-file-open', path=str(tmp_path))

    pair.theirs.ask('guest-file-close', handle=theirs['return'])
    # Both must give out the same handles to the tests that follow.
    pair.ours.ask(
        'guest-file-close',
        handle=pair.ours.ask('guest-file-open', path='/dev/null')['return'],
    )
    assert _desc(ours).endswith("(mode: 'r'): Is a directory")


def test_padding_inside_of_base64(pair: Pair, tmp_path: pathlib.Path):
    for i, client in enumerate(pair):
        path = str(tmp_path / str(i))
        handle = client.ask('guest-file-open', path=path, mode='w')['return']
        written = client.ask('guest-file-write', handle=handle, buf_b64='=aGVsb')
        assert written['return']['count'] == 3
        client.ask('guest-file-close', handle=handle)

    assert (tmp_path / '1').read_bytes() == b'hel'
    assert (tmp_path / '0').read_bytes() != b'hel'


def test_programs(pair: Pair):
    for arguments in (
        {'path': '/bin/true'},
        {'path': 'true'},
        {'path': '/bin/sh', 'arg': ['-c', 'echo out; echo err >&2; exit 3']},
        {'path': '/bin/sh', 'arg': ['-c', 'kill -9 $$']},
        {'path': '/bin/cat', 'input-data': 'aGVs'},
        {'path': '/bin/cat', 'input-data': ''},
        {'path': 'env', 'env': ['A=1', 'B=2=3']},
        {'path': '/bin/sh', 'arg': ['-c', 'head -c 300000 /dev/zero; printf x >&2']},
    ):
        for capture in ({}, {'capture-output': True}, {'capture-output': False}):
            ended = [_run(client, {**arguments, **capture}) for client in pair]
            assert ended[0] == ended[1], arguments


def _run(client: agents.Client, arguments: dict[str, Any]) -> Any:
    pid = client.ask('guest-exec', **arguments)['return']['pid']
    while True:
        status = client.ask('guest-exec-status', pid=pid)['return']
        if status['exited']:
            assert 'error' in client.ask('guest-exec-status', pid=pid)
            return status


#: What both say is the same but for the order of its items, by this member.
_ORDERED = {
    'guest-get-vcpus': 'logical-id',
    'guest-get-memory-blocks': 'phys-index',
    'guest-get-disks': 'name',
    'guest-get-users': 'user',
}


@pytest.mark.parametrize(
    'name',
    [
        *('guest-get-osinfo', 'guest-get-timezone', 'guest-get-host-name'),
        *('guest-get-memory-block-info', 'guest-fsfreeze-status', *_ORDERED),
    ],
)
def test_facts_that_stay(pair: Pair, name: str):
    def ask() -> list[Any]:
        answers = [client.ask(name) for client in pair]
        for answer in answers:
            if name in _ORDERED and 'return' in answer:
                answer['return'].sort(key=lambda item: item[_ORDERED[name]])
        return answers

    _agree(ask)


def _agree(ask: Callable[[], list[Any]]) -> None:
    """Fail unless both say the same; other tests mount, and make interfaces."""
    deadline = time.monotonic() + 60
    theirs, ours = ask()
    while theirs != ours and time.monotonic() < deadline:
        time.sleep(0.1)
        theirs, ours = ask()
    assert theirs == ours


@pytest.mark.parametrize(
    ('name', 'key', 'moving'),
    [
        ('guest-get-fsinfo', 'mountpoint', {'used-bytes', 'total-bytes-privileged'}),
        ('guest-get-cpustats', 'cpu', None),
        ('guest-get-diskstats', 'name', {'stats'}),
    ],
)
def test_facts_that_move(pair: Pair, name: str, key: str, moving: set[str] | None):
    _agree(
        lambda: [
            {item[key]: _shape(item, moving) for item in client.ask(name)['return']}
            for client in pair
        ]
    )


def test_network_interfaces(pair: Pair):
    def ask() -> list[Any]:
        found = []
        for client in pair:
            items = client.ask('guest-network-get-interfaces')['return']
            found.append({item['name']: _interface(item) for item in items})
        return found

    _agree(ask)


def _interface(item: dict[str, Any]) -> dict[str, Any]:
    """Return what stays of an interface."""
    counters = item.pop('statistics', {})
    if 'ip-addresses' in item:
        # Of one without an address qemu-ga has none.
        item['counters'] = sorted(counters)
        item['ip-addresses'].sort(key=lambda found: found['ip-address'])
    return item


def _shape(item: dict[str, Any], moving: set[str] | None) -> dict[str, Any]:
    """Return an item, with the names instead of the values of what moves."""
    shape: dict[str, Any] = {}
    for name, value in item.items():
        if moving is not None and name not in moving:
            shape[name] = value
        elif isinstance(value, dict):
            shape[name] = sorted(value)
        elif name != 'total-bytes-privileged':
            shape[name] = None
    return shape


def test_total_bytes_of_root(pair: Pair):
    privileged = 'total-bytes-privileged'

    assert all(privileged not in item for item in _items(pair.theirs))
    assert any(privileged in item for item in _items(pair.ours))


def _items(client: agents.Client) -> Any:
    return client.ask('guest-get-fsinfo')['return']


def test_commands(pair: Pair):
    theirs, ours = (_commands(client) for client in pair)

    assert set(theirs) - set(ours) == {'guest-get-devices'}
    assert set(ours) - set(theirs) == {'guest-get-load', 'guest-network-get-route'}
    # A command is off here where its extension is not installed.
    assert [name for name in theirs if name in ours] == [
        name for name in ours if name in theirs
    ]
    assert all(
        theirs[name]['success-response'] == ours[name]['success-response']
        for name in theirs
        if name in ours
    )


def _commands(client: agents.Client) -> dict[str, Any]:
    listed = client.ask('guest-info')['return']['supported_commands']
    return {item['name']: item for item in listed}


def test_a_string_beyond_the_limit(pair: Pair):
    size = 64 * 1024 * 1024
    data = b'{"execute":"guest-ping","id":"' + b'x' * size + b'"}\n' + PING

    for client in pair:
        found = client.answers(data)
        assert _desc(found[0]) == 'JSON token size limit exceeded'
        assert {'return': {}} in found
