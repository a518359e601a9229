# SPDX-License-Identifier: Apache-2.0
"""Channels of a real agent: the one of doc/extensions.rst, and that of qemu-ga."""

import base64
import json
import os
import pathlib
import shutil
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from devstack import processes, stack
from tests.interop.qga import agents

pytestmark = pytest.mark.functional

TUTORIAL = pathlib.Path(__file__).parents[2] / 'doc/tutorial/lines'

#: Nobody is there: what a channel does needs no bus.
NO_BUS = 'rabbit://nobody@127.0.0.1:9'

POLICY = """
[rule lines]
callers = lines
commands = monitoring.facts

[rule qga]
callers = qga
commands = monitoring.facts, file.*
"""


@pytest.fixture(scope='module')
def packages(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder into which the channel of the documentation is installed."""
    folder = tmp_path_factory.mktemp('packages')
    shutil.copy(TUTORIAL / 'guestagent_lines.py', folder)
    about = folder / 'guestagent_lines-0.1.0.dist-info'
    about.mkdir()
    (about / 'METADATA').write_text('Name: guestagent-lines\nVersion: 0.1.0\n')
    points = '[guestagent.channels]\nlines = guestagent_lines:Lines\n'
    (about / 'entry_points.txt').write_text(points)
    return folder


def _agent(folder: pathlib.Path, packages: pathlib.Path, **options: Any) -> stack.Agent:
    policy = folder / 'policy.conf'
    policy.write_text(POLICY)
    merged = {
        'DEFAULT': {
            'enabled_extensions': 'exec,file,monitoring',
            'enabled_channels': 'lines,qga',
        },
        'lines': {'path': folder / 'lines.socket'},
        'qga': {'method': 'unix-listen', 'path': folder / 'qga.socket'},
        'policy': {'file': policy},
        # It does not count for what comes in by a channel.
        'seal': {'allow_plain': False},
    }
    return stack.Agent(folder, NO_BUS, 'vm-1', {**merged, **options}, packages)


@pytest.fixture(scope='module')
def agent(
    tmp_path_factory: pytest.TempPathFactory, packages: pathlib.Path
) -> Iterator[stack.Agent]:
    folder = tmp_path_factory.mktemp('channels')
    child = _agent(folder, packages)
    try:
        child.wait_for(
            lambda: agents.connects(folder / 'qga.socket'), 'its channels are open'
        )
        yield child
    finally:
        child.stop()


def _qga(agent: stack.Agent) -> agents.Client:
    return agents.Client(agent.config.parent / 'qga.socket')


def test_a_line_is_a_request(agent: stack.Agent):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(agent.config.parent / 'lines.socket'))
        read = client.makefile('r')

        def ask(line: str) -> Any:
            client.sendall(f'{line}\n'.encode())
            return json.loads(read.readline())

        assert ask('monitoring.facts')['facts']['hostname'] == socket.gethostname()
        assert 'does not support RPC version' in ask('nothing.here')['error']
        refused = ask('file.handles')['error']
        assert refused.startswith("caller 'lines' may not use file.handles")


def test_qga_passes_policy_and_audit(agent: stack.Agent, tmp_path: pathlib.Path):
    client = _qga(agent)
    path = tmp_path / 'written'
    text = base64.b64encode(b'by the host').decode()

    assert client.ask('guest-ping') == {'return': {}}
    name = client.ask('guest-get-host-name')['return']['host-name']
    handle = client.ask('guest-file-open', path=str(path), mode='w')['return']
    client.ask('guest-file-write', handle=handle, buf_b64=text)
    client.ask('guest-file-close', handle=handle)
    refused = client.ask('guest-exec', path='/bin/true')

    assert name == socket.gethostname()
    assert path.read_bytes() == b'by the host'
    assert "caller 'qga' may not use exec.spawn" in refused['error']['desc']

    def records() -> list[dict[str, Any]]:
        lines = (agent.state / 'audit.log').read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [record for record in found if record.get('caller') == 'qga']

    # What is refused is written soon, and not before the answer.
    processes.wait_for(
        lambda: (
            {('allowed', 'file.open'), ('refused', 'exec.spawn')}
            <= {(record['kind'], record['command']) for record in records()}
        ),
        'both are recorded',
    )
    assert all(record['proven'] for record in records())


def test_what_is_not_there_is_disabled(agent: stack.Agent):
    listed = _qga(agent).ask('guest-info')['return']['supported_commands']
    enabled = {item['name'] for item in listed if item['enabled']}

    assert {'guest-exec', 'guest-file-open', 'guest-get-osinfo'} <= enabled
    assert not enabled & {'guest-shutdown', 'guest-fsfreeze-freeze', 'guest-get-time'}


def test_it_ends_with_the_agent(tmp_path: pathlib.Path, packages: pathlib.Path):
    child = _agent(tmp_path, packages, policy={'file': ''})
    try:
        path = tmp_path / 'qga.socket'
        child.wait_for(lambda: agents.connects(path), 'its channels are open')
        client = agents.Client(path)
        client.ask('guest-ping')
    finally:
        assert child.stop() == 0
    assert not path.exists()


def test_a_channel_that_does_not_start_is_missed_alone(
    tmp_path: pathlib.Path, packages: pathlib.Path
):
    nowhere = {'method': 'unix-listen', 'path': '/nonexistent/socket'}
    child = _agent(tmp_path, packages, qga=nowhere)
    try:
        child.wait_line('channel qga: failed to start: .*No such file')
        child.wait_for(
            lambda: agents.connects(tmp_path / 'lines.socket'), 'the other one serves'
        )
        os.kill(child.pid, signal.SIGUSR2)
        child.wait_line('channels.*qga.*failed to start')
    finally:
        child.stop()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'enabled_channels': 'nonesuch'}, 'no installed package has the entry point'),
        ({'enabled_channels': 'qga', 'require_extensions': False}, 'no such option'),
    ],
)
def test_a_channel_that_cannot_be(
    tmp_path: pathlib.Path, options: dict[str, Any], said: str
):
    child = stack.Agent(
        tmp_path, NO_BUS, 'vm-2', {'DEFAULT': options, 'qga': {'metod': 'x'}}
    )
    try:
        assert child.wait_end() != 0
        assert said in child.output()
    finally:
        child.stop()


def test_a_section_of_a_channel_that_is_not_enabled_may_stand(tmp_path: pathlib.Path):
    done = processes.Process(
        'check',
        [
            stack.script('guestagent'),
            '--config-file',
            _config(tmp_path, {'qga': {'method': 'unix-listen'}}),
            '--check-config',
        ],
        tmp_path / 'check.log',
    )

    assert done.wait_end() == 0, done.tail()
    assert '[qga] is not read' in done.output()


def _config(folder: pathlib.Path, options: dict[str, Any]) -> pathlib.Path:
    path = folder / 'agent.conf'
    stack.write_config(path, {'DEFAULT': {'state_dir': folder / 'state'}}, options)
    return path
