# SPDX-License-Identifier: Apache-2.0
"""Each command of the qga channel returns what the table says that it does.

What does no harm is answered by the extensions themselves, as in ``guestagent-qga``,
the others by stand-ins that note what they were asked.
"""

import base64
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_qga import base64 as texts
from guestagent_qga import errors, guest, schema, state
from guestagent_qga.standalone import native

from guestagent import errors as native_errors


def check(kind: str, value: Any, where: str) -> None:
    """Fail unless a value is of a type of the table."""
    if kind.startswith('['):
        assert isinstance(value, list), where
        for i, each in enumerate(value):
            check(kind[1:-1], each, f'{where}[{i}]')
    elif kind in schema.SIMPLE:
        check_simple(kind, value, where)
    else:
        about = schema.types()[kind]
        if about.values:
            assert value in about.values, where
        else:
            check_members(about, value, where)


def check_simple(kind: str, value: Any, where: str) -> None:
    if kind == 'base64':
        assert isinstance(value, str | texts.Text), where
        base64.b64decode(str(value), validate=True)
    elif kind == 'str':
        assert isinstance(value, str), where
    elif kind == 'bool':
        assert isinstance(value, bool), where
    elif kind == 'number':
        assert isinstance(value, int | float), where
        assert not isinstance(value, bool), where
    else:
        assert isinstance(value, int), where
        assert not isinstance(value, bool), where
        low, high = {
            'int': (-(2**63), 2**63 - 1),
            'uint16': (0, 2**16 - 1),
            'uint64': (0, 2**64 - 1),
        }[kind]
        assert low <= value <= high, where


def check_members(about: schema.Type, value: Any, where: str) -> None:
    assert isinstance(value, dict), where
    members = list(about.members)
    for case, kind in about.cases:
        if value.get('type') == case:
            members += schema.types()[kind].members
    for member in members:
        if member.name in value:
            check(member.type, value[member.name], f'{where}.{member.name}')
        else:
            assert member.optional, f'{where}.{member.name} is missing'
    assert set(value) <= {member.name for member in members}, where


class Native(native.Native):
    """The extensions themselves, but for what is in ``stand_ins``."""

    def __init__(self) -> None:
        super().__init__({})
        self.stand_ins: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, namespace: str, method: str, *rest: Any) -> Any:
        name = f'{namespace}.{method}'
        if name not in self.stand_ins:
            assert name in HARMLESS, name
            return super().call(namespace, method, *rest)
        self.asked.append((name, rest[0]))
        answer = self.stand_ins[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


HARMLESS = {
    *('exec.spawn', 'exec.status', 'exec.read', 'exec.forget', 'power.get_time'),
    *('file.open', 'file.close', 'file.read', 'file.write', 'file.seek', 'file.flush'),
    'file.handles',
    *('hardware.cpus', 'hardware.memory_blocks', 'hardware.memory_block_size'),
    'monitoring.facts',
}


@pytest.fixture
def extensions() -> Iterator[Native]:
    made = Native()
    yield made
    made.stop()


@pytest.fixture
def answering(extensions: Native, tmp_path: pathlib.Path) -> guest.Guest:
    kept = state.State(str(tmp_path))
    return guest.Guest(extensions, guest.Settings('10.2.2'), kept)


def ask(answering: guest.Guest, name: str, **arguments: Any) -> Any:
    """Return a result that is as the table says."""
    command = answering.find(name)
    given = {key.replace('_', '-'): value for key, value in arguments.items()}
    result = answering.answer(command, given)
    if command.returns:
        check(command.returns, result, name)
    else:
        assert result is None
    return result


def test_what_the_channel_answers_itself(answering: guest.Guest):
    assert ask(answering, 'guest-ping') is None
    assert ask(answering, 'guest-sync', id=-5) == -5
    assert ask(answering, 'guest-sync-delimited', id=2**60) == 2**60
    listed = ask(answering, 'guest-info')['supported_commands']
    assert len(listed) == 43
    assert listed[-1]['name'] == 'guest-sync-delimited'
    assert all(item['enabled'] for item in listed)


def test_files(answering: guest.Guest, tmp_path: pathlib.Path):
    path = tmp_path / 'file'
    handle = ask(answering, 'guest-file-open', path=str(path), mode='w+b')
    data = base64.encodebytes(b'hello, ' * 100).decode()
    written = ask(answering, 'guest-file-write', handle=handle, buf_b64=data)
    assert written == {'count': 700, 'eof': False}
    assert ask(
        answering, 'guest-file-seek', handle=handle, offset=-14, whence='end'
    ) == {'position': 686, 'eof': False}
    read = ask(answering, 'guest-file-read', handle=handle, count=7)
    assert str(read['buf-b64']) == base64.b64encode(b'hello, ').decode()
    assert ask(answering, 'guest-file-flush', handle=handle) is None
    assert ask(answering, 'guest-file-close', handle=handle) is None
    with pytest.raises(errors.CommandError, match="handle '1000' has not been found"):
        ask(answering, 'guest-file-read', handle=handle)


def test_no_file_stays_open_whose_handle_cannot_be_kept(
    answering: guest.Guest,
    extensions: Native,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def full() -> int:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(answering.state, 'take_handle', full)
    with pytest.raises(errors.CommandError, match=r'No space left on device$'):
        ask(answering, 'guest-file-open', path=str(tmp_path / 'file'), mode='w')

    assert extensions.call('file', 'handles', {}) == []


def test_a_client_of_the_program_reaches_its_files_too(
    answering: guest.Guest, extensions: Native, tmp_path: pathlib.Path
):
    handle = ask(answering, 'guest-file-open', path=str(tmp_path / 'qga.state'))
    assert ask(answering, 'guest-file-read', handle=handle)['count'] > 0
    assert extensions.own_paths() == ()


def test_a_long_read_is_of_pieces(answering: guest.Guest, tmp_path: pathlib.Path):
    path = tmp_path / 'file'
    path.write_bytes(os.urandom(2 * texts.PIECE + 5))
    handle = ask(answering, 'guest-file-open', path=str(path))

    read = ask(answering, 'guest-file-read', handle=handle, count=3 * texts.PIECE)

    assert (read['count'], read['eof']) == (2 * texts.PIECE + 5, True)
    assert base64.b64decode(str(read['buf-b64'])) == path.read_bytes()


def _ended(answering: guest.Guest, pid: int) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = ask(answering, 'guest-exec-status', pid=pid)
        if status['exited']:
            return status
        time.sleep(0.01)
    raise AssertionError('it does not end')


@pytest.mark.parametrize(
    ('capture', 'out', 'err'),
    [
        (True, b'out\n', b'err\n'),
        ('separated', b'out\n', b'err\n'),
        ('stdout', b'out\n', None),
        ('stderr', None, b'err\n'),
        ('merged', b'out\nerr\n', None),
        ('none', None, None),
        (False, None, None),
    ],
)
def test_programs(
    answering: guest.Guest, capture: Any, out: bytes | None, err: bytes | None
):
    started = ask(
        answering,
        'guest-exec',
        path='/bin/sh',
        arg=['-c', 'echo out; echo err >&2; exit 7'],
        capture_output=capture,
    )

    status = _ended(answering, started['pid'])

    assert status['exitcode'] == 7
    for name, wanted in (('out-data', out), ('err-data', err)):
        found = status.get(name)
        assert (base64.b64decode(str(found)) if found else None) == wanted
    with pytest.raises(errors.CommandError, match=r'PID \d+ does not exist'):
        ask(answering, 'guest-exec-status', pid=started['pid'])


def test_more_output_than_is_kept(tmp_path: pathlib.Path, extensions: Native):
    kept = state.State(str(tmp_path))
    settings = guest.Settings('10.2.2', answer_max=100000)
    answering = guest.Guest(extensions, settings, kept)
    script = 'head -c 200000 /dev/zero; printf x >&2'
    started = ask(
        answering, 'guest-exec', path='/bin/sh', arg=['-c', script], capture_output=True
    )

    status = _ended(answering, started['pid'])

    assert 90000 < len(str(status['out-data'])) < 100000
    assert status['out-truncated'] is True
    assert (str(status['err-data']), status['err-truncated']) == ('eA==', False)


@pytest.mark.parametrize(
    'name',
    [
        *(
            'guest-get-osinfo',
            'guest-get-timezone',
            'guest-get-users',
            'guest-get-load',
        ),
        *('guest-get-cpustats', 'guest-get-diskstats', 'guest-get-disks'),
        *('guest-get-fsinfo', 'guest-network-get-interfaces'),
        *('guest-network-get-route', 'guest-get-vcpus', 'guest-get-time'),
    ],
)
def test_what_the_guest_is_and_has(answering: guest.Guest, name: str):
    found = ask(answering, name)

    assert found or name in ('guest-get-users', 'guest-network-get-route')


def test_the_name(answering: guest.Guest):
    found = ask(answering, 'guest-get-host-name')

    assert found == {'host-name': socket.gethostname()}


@pytest.mark.parametrize(
    'name', ['guest-get-memory-blocks', 'guest-get-memory-block-info']
)
def test_memory(answering: guest.Guest, name: str):
    if not os.path.exists('/sys/devices/system/memory/block_size_bytes'):
        pytest.skip('this kernel has no blocks of memory')

    assert ask(answering, name)


#: For each: the command, its arguments, what the native one is asked and answers, and
#: the result.
HARMFUL: list[tuple[str, dict[str, Any], str, dict[str, Any], Any, Any]] = [
    ('guest-set-time', {'time': 5}, 'power.set_time', {'nanoseconds': 5}, {}, None),
    ('guest-set-time', {}, 'power.set_time', {}, {}, None),
    ('guest-shutdown', {}, 'power.shutdown', {'mode': 'poweroff'}, {}, None),
    ('guest-shutdown', {'mode': 'halt'}, 'power.shutdown', {'mode': 'halt'}, {}, None),
    ('guest-suspend-disk', {}, 'power.suspend', {'kind': 'disk'}, {}, None),
    ('guest-suspend-ram', {}, 'power.suspend', {'kind': 'ram'}, {}, None),
    ('guest-suspend-hybrid', {}, 'power.suspend', {'kind': 'hybrid'}, {}, None),
    (
        'guest-set-vcpus',
        {'vcpus': [{'logical-id': 1, 'online': False, 'can-offline': True}]},
        'hardware.set_cpus',
        {'cpus': [{'id': 1, 'online': False}]},
        {'changed': 1},
        1,
    ),
    (
        'guest-set-memory-blocks',
        {'mem_blks': [{'phys-index': i, 'online': True} for i in (3, 4)]},
        'hardware.set_memory_blocks',
        {'blocks': [{'index': i, 'online': True} for i in (3, 4)]},
        [
            {'index': 3, 'response': 'success'},
            {'index': 4, 'response': 'operation-failed', 'error_code': 16},
        ],
        [
            {'phys-index': 3, 'response': 'success'},
            {'phys-index': 4, 'response': 'operation-failed', 'error-code': 16},
        ],
    ),
    (
        'guest-set-user-password',
        {'username': 'app', 'password': 'aHVudGVyMg==', 'crypted': False},
        'accounts.set_password',
        {'user': 'app', 'password': 'hunter2', 'crypted': False},
        None,
        None,
    ),
    (
        'guest-ssh-get-authorized-keys',
        {'username': 'app'},
        'accounts.list_keys',
        {'user': 'app'},
        {'keys': ['a'], 'path': '/x', 'exists': True},
        {'keys': ['a']},
    ),
    (
        'guest-ssh-add-authorized-keys',
        {'username': 'app', 'keys': ['a'], 'reset': True},
        'accounts.add_keys',
        {'user': 'app', 'keys': ['a'], 'replace': True},
        {'added': 1},
        None,
    ),
    (
        'guest-ssh-remove-authorized-keys',
        {'username': 'app', 'keys': ['a']},
        'accounts.remove_keys',
        {'user': 'app', 'keys': ['a']},
        {'removed': 1},
        None,
    ),
    (
        'guest-fstrim',
        {'minimum': 4096},
        'fsfreeze.trim',
        {'minimum': 4096},
        {
            'paths': [
                {'path': '/', 'trimmed': 5, 'minimum': 4096},
                {'path': '/x', 'error': 'no'},
            ]
        },
        {
            'paths': [
                {'path': '/', 'trimmed': 5, 'minimum': 4096},
                {'path': '/x', 'error': 'no'},
            ]
        },
    ),
    ('guest-fsfreeze-freeze', {}, 'fsfreeze.freeze', {}, {'count': 3}, 3),
    (
        'guest-fsfreeze-freeze-list',
        {'mountpoints': ['/']},
        'fsfreeze.freeze',
        {'mountpoints': ['/']},
        {'count': 1},
        1,
    ),
    ('guest-fsfreeze-thaw', {}, 'fsfreeze.thaw', {}, {'count': 2}, 2),
    ('guest-fsfreeze-status', {}, 'fsfreeze.status', {}, {'state': 'frozen'}, 'frozen'),
]


@pytest.mark.parametrize(
    ('name', 'arguments', 'asked', 'wanted', 'answer', 'result'), HARMFUL
)
def test_what_does_something(
    answering: guest.Guest,
    extensions: Native,
    name: str,
    arguments: dict[str, Any],
    asked: str,
    wanted: dict[str, Any],
    answer: Any,
    result: Any,
):
    extensions.stand_ins[asked] = answer

    assert ask(answering, name, **arguments) == result
    assert extensions.asked == [(asked, wanted)]


def test_all_commands_were_asked():
    text = pathlib.Path(__file__).read_text()

    assert [
        each.name
        for each in schema.COMMANDS.values()
        if each.topic and f"'{each.name}'" not in text
    ] == []


@pytest.mark.parametrize(
    ('name', 'arguments', 'asked', 'error', 'text'),
    [
        (
            'guest-set-time',
            {'time': -1},
            'power.set_time',
            native_errors.GuestError('the clock cannot be set: Invalid argument'),
            'Failed to set time to guest: Invalid argument',
        ),
        (
            'guest-file-open',
            {'path': '/x', 'mode': 'a'},
            'file.open',
            native_errors.GuestError('cannot open /x: No such file or directory'),
            "failed to open file '/x' (mode: 'a'): No such file or directory",
        ),
        (
            'guest-exec',
            {'path': '/x'},
            'exec.spawn',
            native_errors.InvalidArgument('/x: No such file or directory'),
            'Failed to execute child process \u201c/x\u201d '
            '(No such file or directory)',
        ),
        (
            # A refusal is told as it is.
            'guest-exec',
            {'path': '/x'},
            'exec.spawn',
            native_errors.Forbidden('qga may not use exec.spawn: no rule allows it'),
            'qga may not use exec.spawn: no rule allows it',
        ),
        (
            'guest-shutdown',
            {},
            'power.shutdown',
            native_errors.GuestError('no program can do it'),
            'no program can do it',
        ),
    ],
)
def test_what_fails(
    answering: guest.Guest,
    extensions: Native,
    name: str,
    arguments: dict[str, Any],
    asked: str,
    error: Exception,
    text: str,
):
    extensions.stand_ins[asked] = error

    with pytest.raises(errors.CommandError) as caught:
        ask(answering, name, **arguments)

    assert str(caught.value) == text


def test_the_table_of_options_is_in_order():
    """What an extension needs and has not fails in the tests of its commands."""
    for place, values in native.EXTENSIONS.values():
        module, _, kind = place.partition(':')
        plugin = getattr(__import__(module, fromlist=[kind]), kind)
        options = {option.dest: option for option in plugin.list_options()}

        for name, value in values.items():
            # As the type of the option would take it.
            text = ','.join(value) if isinstance(value, list) else str(value)
            assert options[name].type(text) == value, (place, name)
