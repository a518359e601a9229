# SPDX-License-Identifier: Apache-2.0
"""An agent that is no longer root, what stays root beside it, and who may read what."""

import os
import pathlib
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack import processes, stack
from guestagent.seal import keys
from tests.functional import conftest, unprivileged

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user'),
]

AGENT, OTHER, AS_AGENT = unprivileged.AGENT, unprivileged.OTHER, unprivileged.AS_AGENT
field = unprivileged.field


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """A folder that other users can get into, other than pytest's own."""
    made = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-privileges-'))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def program(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The agent, on a Python that other users can run, too."""
    return unprivileged.install(folder, monkeypatch)


@pytest.fixture
def start(
    folder: pathlib.Path,
    program: pathlib.Path,
    bus_url: str,
    children: list[processes.Process],
) -> Callable[..., stack.Agent]:
    """``start(extensions, options)``: an agent that becomes AGENT."""

    def make(extensions: str, options: dict[str, Any]) -> stack.Agent:
        merged = {
            'probe': {'marks': folder / 'marks'},
            'seal': {'allow_plain': True},
            **options,
            'DEFAULT': {'user': AGENT, 'enabled_extensions': extensions}
            | options.get('DEFAULT', {}),
        }
        child = stack.Agent(folder, bus_url, 'vm-1', merged, conftest.PROBE)
        children.append(child)
        return child

    return make


@pytest.fixture
def call(stock_client: Callable[..., Any]) -> Callable[..., Any]:
    def make(namespace: str, method: str, **args: Any) -> Any:
        return stock_client('vm-1', namespace=namespace, timeout=60).call(
            {}, method, **args
        )

    return make


def descendants(pid: int) -> list[int]:
    listed = subprocess.run(
        ['ps', '-e', '-o', 'pid=,ppid='], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    found, last = [], [pid]
    while last:
        last = [child for child, parent in parents.items() if parent in last]
        found += last
    return found


def command_line(pid: int) -> str:
    return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().decode()


def numbers(user: str) -> tuple[str, str]:
    entry = pwd.getpwnam(user)
    return str(entry.pw_uid), str(entry.pw_gid)


def test_the_agent_is_no_longer_root_and_one_extension_still_is(
    start: Callable[..., stack.Agent], call: Callable[..., Any], folder: pathlib.Path
) -> None:
    # Given what a root agent has left behind, with a folder that is root's,
    state = folder / 'agent-vm-1.state'
    state.mkdir(mode=0o700)
    (state / 'left').touch(0o600)
    # (and what somebody would like to be given, too)
    wanted = folder / 'wanted'
    wanted.touch(0o600)
    (state / 'link').symlink_to(wanted)
    (state / 'linked').hardlink_to(wanted)
    # when an agent starts that is to be another user
    child = start(
        'exec,probe',
        {
            'exec': {'isolate': True, 'isolate_user': 'root'},
            'probe': {
                'isolate': True,
                'isolate_user': OTHER,
                'isolate_idle': 0,
                'marks': '/dev/null',
            },
        },
    )
    child.wait_ready()

    # then it is for good, and its files are its own,
    uid, gid = numbers(AGENT)
    assert field(child.pid, 'Uid') == [uid] * 4
    assert field(child.pid, 'Gid') == [gid] * 4
    assert int(field(child.pid, 'CapPrm')[0], 16) == 0
    assert int(field(child.pid, 'CapEff')[0], 16) == 0
    assert '0' not in field(child.pid, 'Groups')
    assert wanted.stat().st_uid == 0
    (state / 'link').unlink()
    (state / 'linked').unlink()
    for path in (state, *state.rglob('*')):
        found = path.stat()
        assert found.st_uid == int(uid), path
        assert found.st_mode & 0o077 == 0, path
    # root's extension is root, with all that belongs to it,
    assert call('exec', 'run', argv=['id', '-u'])['stdout'] == '0\n'
    ran = call('exec', 'run', argv=['id', '-un'], user=OTHER)
    assert ran['stdout'] == f'{OTHER}\n'
    # and the other is who it is to be, and nothing more.
    call('probe', 'echo', value=1)
    [other] = [
        pid
        for pid in descendants(child.pid)
        if 'isolation.child' in command_line(pid) and 'probe' in command_line(pid)
    ]
    assert field(other, 'Uid') == [numbers(OTHER)[0]] * 4
    assert field(other, 'Gid') == [numbers(OTHER)[1]] * 4
    assert '0' not in field(other, 'Groups')
    assert int(field(other, 'SigIgn')[0], 16) & (1 << (signal.SIGTERM - 1)) == 0
    # It lives until the agent ends it, or has ended.
    everything = descendants(child.pid)
    child.stop()
    processes.wait_for(
        lambda: not any(pathlib.Path(f'/proc/{pid}').exists() for pid in everything),
        'nothing is left of it',
    )


def test_an_extension_of_another_user_dies_and_is_killed_as_others_are(
    start: Callable[..., stack.Agent], call: Callable[..., Any]
) -> None:
    child = start('probe', {'probe': {'isolate': True, 'isolate_user': OTHER}})
    child.wait_ready()
    call('probe', 'echo')
    [process] = [
        pid for pid in descendants(child.pid) if 'isolation.child' in command_line(pid)
    ]
    os.kill(process, signal.SIGKILL)
    child.wait_line('it was killed by SIGKILL')
    # A command that hears nothing of its end is ended with its process.
    processes.wait_for(lambda: _echo(call), 'it was started again')
    with pytest.raises(Exception, match=r'CommandTimeout|did not end|timed out'):
        call('probe', 'hang', seconds=60)
    child.wait_line(r'did not end .*it was killed')


def _echo(call: Callable[..., Any]) -> bool:
    try:
        return bool(call('probe', 'echo', value=True))
    except Exception:  # noqa: BLE001  (not before a moment has passed)
        return False


@pytest.mark.parametrize('reader', ['root', OTHER])
def test_an_extension_of_another_user_reads_nothing_of_the_agents(
    start: Callable[..., stack.Agent],
    call: Callable[..., Any],
    folder: pathlib.Path,
    reader: str,
) -> None:
    policy = folder / 'policy'
    policy.write_text('[rule all]\ncallers = plain:*\ncommands = *\n')
    policy.chmod(0o600)
    shutil.chown(policy, AGENT)
    child = start(
        'exec',
        {'policy': {'file': policy}, 'exec': {'isolate': True, 'isolate_user': reader}},
    )
    child.wait_ready()
    own = [policy, child.config]
    child.config.chmod(0o600)
    call('exec', 'run', argv=['true'])
    files = [path for path in child.state.rglob('*') if path.is_file()]
    assert {'journal', 'audit'} <= {path.name.partition('.')[0] for path in files}

    def readable(path: object) -> bool:
        return bool(call('exec', 'run', argv=['cat', str(path)])['exit_code'] == 0)

    for path in (*own, *files):
        # Root reads all: so the question is a real one.
        assert readable(path) == (reader == 'root'), path
    for inside in ('environ', 'mem', 'maps', 'fd/0'):
        path = f'/proc/{child.pid}/{inside}'
        script = f'exec 3<{path}'
        ran = call('exec', 'run', argv=['sh', '-c', script])
        assert (ran['exit_code'] == 0) == (reader == 'root') or inside == 'fd/0', path


def test_what_needs_root_and_is_not_is_said(
    start: Callable[..., stack.Agent], program: pathlib.Path, call: Callable[..., Any]
) -> None:
    child = start('exec', {})
    child.wait_ready()
    line = 'extension exec does not run as root, and needs it to run commands as root'
    assert line in child.output()
    checked = subprocess.run(
        [program, '--check-config', '--config-file', child.config],
        env=stack.beside(conftest.PROBE),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert line in checked.stderr
    assert (checked.stdout, checked.returncode) == ('OK\n', 0)
    assert call('agent', 'describe', extension='exec')['needs_root'].startswith('to')
    uid = numbers(AGENT)[0]
    assert call('exec', 'run', argv=['id', '-u'])['stdout'] == f'{uid}\n'
    with pytest.raises(Exception, match='does not run as root'):
        call('exec', 'run', argv=['id'], user='root')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'DEFAULT': {'user': 'nobody-here'}}, "there is no user 'nobody-here'"),
        ({'probe': {'isolate_user': 'nobody-here'}}, '[probe] isolate_user: there is'),
    ],
)
def test_a_user_that_is_not_there_is_named(
    start: Callable[..., stack.Agent], options: dict[str, Any], said: str
) -> None:
    child = start('probe', options)
    assert child.wait_end() == 2
    assert said in child.output()


def test_who_is_not_root_cannot_choose(
    folder: pathlib.Path, program: pathlib.Path
) -> None:
    config = folder / 'agent.conf'
    config.write_text('[DEFAULT]\nuser = root\nenabled_extensions =\n')
    ran = subprocess.run(
        [program, '--config-file', config],
        **AS_AGENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert 'only an agent that is started as root can become another' in ran.stderr


def test_keys_are_not_for_core_dumps_nor_for_others_of_the_user(
    start: Callable[..., stack.Agent], folder: pathlib.Path
) -> None:
    line = keys.Line(keys.COMMANDS, 'nova', False, secrets.token_bytes(32))
    path = folder / 'keys'
    path.write_text(f'{line}\n')
    path.chmod(0o600)
    log = folder / 'agent.log'
    log.touch(0o600)
    child = start('probe', {'seal': {'key_file': path}, 'DEFAULT': {'log_file': log}})
    child.wait_ready()
    # What was root's, for an agent that was root, is the agent's now.
    for own in (path, log):
        assert (own.owner(), own.stat().st_mode & 0o777) == (AGENT, 0o600)
    assert 'guest agent for instance' in log.read_text()

    # What cannot be dumped is root's in /proc, whoever it runs as.
    assert pathlib.Path(f'/proc/{child.pid}/environ').stat().st_uid == 0
    ran = subprocess.run(
        ['cat', f'/proc/{child.pid}/maps'], capture_output=True, check=False, **AS_AGENT
    )
    assert ran.returncode != 0
