# SPDX-License-Identifier: Apache-2.0
"""The agent as a process: its start, its stop, its configuration, its size."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import oslo_messaging
import pytest

from devstack import processes, stack
from guestagent import errors
from tests.functional import raw

pytestmark = pytest.mark.functional

PACKAGES = pathlib.Path(__file__).parent / 'probe'


def wait_until_it_runs(client, topic):
    """Wait until the only command that an agent was sent runs."""

    def running():
        message = {'namespace': 'agent', 'method': 'list'}
        listed = client.call(topic, message)['result']
        return [one['state'] for one in listed] == ['running']

    processes.wait_for(running, 'it runs')


def run_to_end(tmp_path, options, *arguments, packages=PACKAGES):
    """Start an agent that should end by itself; return (exit code, output)."""
    path = tmp_path / 'agent.conf'
    stack.write_config(
        path,
        {'DEFAULT': {'instance_id': 'vm', 'transport_url': 'rabbit://127.0.0.1:1/'}},
        options,
    )
    done = subprocess.run(
        [stack.script('guestagent'), '--config-file', path, *arguments],
        env={**os.environ, 'PYTHONPATH': str(packages)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ('options', 'what'),
    [
        ({'DEFAULT': {'transport_url': 'kafka://h/'}}, "scheme 'kafka'"),
        (
            {'DEFAULT': {'instance_id': 'a b'}},
            "[DEFAULT] instance_id: instance id 'a b'",
        ),
        (
            {'DEFAULT': {'enabled_extensions': 'agent'}},
            "the name 'agent' is the agent's",
        ),
        ({'dispatcher': {'workers': 0}}, 'workers'),
        ({'dispatcher': {'workers': 'many'}}, 'workers'),
        (
            {'DEFAULT': {'enabled_extensions': 'nope', 'require_extensions': True}},
            "nope: no installed package has the entry point 'nope'",
        ),
        (
            {'DEFAULT': {'enabled_extensions': 'broken', 'require_extensions': True}},
            'ModuleNotFoundError',
        ),
        (
            {
                'DEFAULT': {
                    'enabled_extensions': 'starts_badly',
                    'require_extensions': True,
                }
            },
            'failed to start: no such device',
        ),
        (
            {
                'DEFAULT': {
                    'enabled_extensions': 'bad_annotation',
                    'require_extensions': True,
                }
            },
            'JSON cannot carry bytes',
        ),
        ({'DEFAULT': {'log_file': '/nonexistent/log'}}, '/nonexistent/log'),
    ],
)
def test_a_wrong_configuration_stops_the_start(tmp_path, options, what):
    code, output = run_to_end(tmp_path, options)

    assert what in output
    assert code != 0
    last = output.strip().splitlines()[-1]
    assert last.startswith('guestagent: ')
    assert what in last


def test_a_missing_file_and_a_wrong_option_are_named(tmp_path):
    code, output = run_to_end(tmp_path, {}, '--config-file', '/nonexistent.conf')
    assert code != 0
    assert '/nonexistent.conf' in output

    code, output = run_to_end(tmp_path, {}, '--nonsense')
    assert code == 2
    assert '--nonsense' in output


def test_two_extensions_of_one_name_stop_the_start_and_are_both_named(tmp_path):
    for name in ('one', 'two'):
        info = tmp_path / 'packages' / f'dist_{name}-1.0.dist-info'
        info.mkdir(parents=True)
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.0\n'
        )
        (info / 'entry_points.txt').write_text(
            f'[guestagent.extensions]\nsame = module_{name}:Thing\n'
        )

    code, output = run_to_end(
        tmp_path,
        {'DEFAULT': {'enabled_extensions': 'same'}},
        packages=tmp_path / 'packages',
    )

    assert code == 2
    for word in ('module_one:Thing', 'dist-one', 'module_two:Thing', 'dist-two'):
        assert word in output


def test_an_extension_that_fails_is_reported_and_the_agent_serves_on(
    agent, stock_client
):
    guest = agent(extensions='probe,broken,starts_badly,bad_annotation,nope')
    probe = stock_client(guest.instance, namespace='probe')
    core = stock_client(guest.instance, namespace='agent')

    assert probe.call({}, 'echo', value=1) == 1
    for name, problem in [
        ('broken', 'ModuleNotFoundError'),
        ('starts_badly', 'failed to start: no such device'),
        ('bad_annotation', 'JSON cannot carry bytes'),
        ('nope', 'no installed package'),
    ]:
        assert problem in core.call({}, 'describe', extension=name)['health']
        assert problem in guest.output()
    with pytest.raises(errors.NoSuchRecord, match='it has: bad_annotation, broken'):
        core.call({}, 'describe', extension='other')


def test_an_extension_is_described(agent, stock_client):
    guest = agent(extensions='probe')

    about = stock_client(guest.instance, namespace='agent').call(
        {}, 'describe', extension='probe'
    )

    assert about['doc'] == 'What a test asks of an agent.'
    sleep = next(c for c in about['commands'] if c['name'] == 'sleep')
    assert sleep == {
        'name': 'sleep',
        'doc': 'Sleep, awake only to see whether anyone still waits.',
        'mutates': False,
        'repeatable': False,
        'timeout': 600,
        'returns': 'str',
        'arguments': [
            {'name': 'seconds', 'type': 'float', 'required': True, 'default': None}
        ],
    }


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(agent, number):
    guest = agent(extensions='probe')

    os.kill(guest.pid, number)

    assert guest.wait_end() == 0
    assert 'Traceback' not in guest.output()
    # It has waited for nothing.
    assert 'cancelling' not in guest.output()
    assert guest.output().rstrip().endswith('stopped')


def test_it_ends_while_there_is_no_broker(agent):
    guest = agent(
        extensions='probe',
        wait=False,
        options={'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'}},
    )
    guest.wait_line('RabbitMQ at 127.0.0.1:1.*next attempt')

    assert guest.stop() == 0
    assert 'cancelling' not in guest.output()


def test_a_running_command_may_end_before_the_agent_does(agent, bus_url, tmp_path):
    guest = agent(
        extensions='probe', options={'DEFAULT': {'graceful_shutdown_timeout': 300}}
    )
    there = tmp_path / 'there'
    topic = f'guestagent.{guest.instance}'
    with raw.RawClient(bus_url) as client:
        client.send(
            topic,
            {
                'method': 'climb',
                'namespace': 'probe',
                'args': {'to': str(there)},
                '_msg_id': 'm',
                '_reply_q': client.reply_queue,
            },
        )
        wait_until_it_runs(client, topic)
        os.kill(guest.pid, signal.SIGTERM)
        guest.wait_line('SIGTERM: stopping')
        there.touch()
        reply = client.receive(60)
    assert reply['result'] == 'there'
    assert guest.wait_end() == 0


def test_a_command_that_takes_too_long_is_interrupted(agent, bus_url):
    guest = agent(
        extensions='probe', options={'DEFAULT': {'graceful_shutdown_timeout': 1}}
    )
    topic = f'guestagent.{guest.instance}'
    with raw.RawClient(bus_url) as client:
        client.send(
            topic,
            {
                'method': 'sleep',
                'namespace': 'probe',
                'args': {'seconds': 50},
                '_msg_id': 'm',
                '_reply_q': client.reply_queue,
            },
        )
        wait_until_it_runs(client, topic)
        os.kill(guest.pid, signal.SIGTERM)
        reply = client.receive(60)
    assert json.loads(reply['failure'])['class'] == 'Interrupted'
    assert guest.wait_end() == 0


def test_what_came_after_the_stop_waits_for_the_next_agent(
    agent, stock_client, tmp_path, bus_url
):
    guest = agent(
        instance='stopping',
        extensions='probe',
        options={'DEFAULT': {'graceful_shutdown_timeout': 300}},
    )
    there = tmp_path / 'there'
    topic = 'guestagent.stopping'
    with raw.RawClient(bus_url) as client:
        client.send(
            topic, {'method': 'climb', 'namespace': 'probe', 'args': {'to': str(there)}}
        )
        wait_until_it_runs(client, topic)
        os.kill(guest.pid, signal.SIGTERM)
        guest.wait_line('SIGTERM: stopping')
        processes.wait_for(
            lambda: not stack.consumers(bus_url, topic), 'it takes no more'
        )
        client.send(
            topic, {'method': 'mark', 'namespace': 'probe', 'args': {'text': 'later'}}
        )
        there.touch()
        guest.wait_end()
        assert not (tmp_path / 'marks').exists()
    agent(instance='stopping', extensions='probe')
    processes.wait_for((tmp_path / 'marks').exists, 'the command was found')


def test_the_idle_agent_imports_nothing_that_it_does_not_need(tmp_path):
    code = (
        'import sys\nfrom guestagent.cmd import agent\n'
        'sys.argv[1:] = ["--version"]\n'
        'try:\n    agent.main()\nexcept SystemExit: pass\n'
        'print(sorted(sys.modules))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    loaded = done.stdout
    for name in (
        'oslo_messaging',
        'oslo_service',
        'eventlet',
        'yaml',
        'netaddr.core',
        'rfc3986.uri',
        'sqlalchemy',
        'cryptography',
        'asyncio',
        'requests',
        'oslo_i18n',
        'cliff',
    ):
        assert f"'{name}'" not in loaded, name


def test_the_running_agent_has_one_thread_when_idle(agent, stock_client):
    guest = agent(extensions='probe')
    status = pathlib.Path(f'/proc/{guest.pid}/status')

    def has(threads):
        return f'Threads:\t{threads}\n' in status.read_text()

    # What the start needs others for has its end.
    processes.wait_for(lambda: has(1), 'one thread')
    stock_client(guest.instance, namespace='probe').call({}, 'echo', value=1)
    processes.wait_for(lambda: has(2), 'two threads')


def test_the_instance_is_found_without_configuration(tmp_path):
    from guestagent.agent import instance

    (tmp_path / 'etc').mkdir()
    with pytest.raises(errors.ConfigError, match='which instance is this'):
        instance.find(None, tmp_path)
    (tmp_path / 'etc/machine-id').write_text('0123abc\n')
    assert instance.find(None, tmp_path) == '0123abc'
    (tmp_path / 'var/lib/cloud/data').mkdir(parents=True)
    (tmp_path / 'var/lib/cloud/data/instance-id').write_text('i-00a\n')
    assert instance.find(None, tmp_path) == 'i-00a'
    assert instance.find('given', tmp_path) == 'given'


def test_a_timeout_says_nothing_of_a_guest_that_is_not_there(stock_client):
    with pytest.raises(oslo_messaging.MessagingTimeout):
        stock_client('nobody', timeout=0.5).call({}, 'oslo_rpc_server_ping')


def test_a_state_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    options = {'DEFAULT': {'state_dir': tmp_path / 'file' / 'state'}}

    code, output = run_to_end(tmp_path, options)

    assert code == 2
    last = output.strip().splitlines()[-1]
    assert last.startswith('guestagent: [DEFAULT] state_dir: ')
    assert 'Not a directory' in last
    assert 'name another folder' in last
