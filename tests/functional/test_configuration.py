# SPDX-License-Identifier: Apache-2.0
"""What agent and conductor say of their configuration, before they start."""

import socket
import subprocess

import pytest

from devstack import stack

pytestmark = pytest.mark.functional


def run_to_end(program, config, *arguments):
    done = subprocess.run(
        [stack.script(program), '--config-file', config, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize('program', ['guestagent', 'guestagent-conductor'])
def test_check_config_finds_nothing_and_connects_nowhere(program, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        options = {'DEFAULT': {'transport_url': f'rabbit://u:p@127.0.0.1:{port}/'}}
        if program == 'guestagent':
            options['DEFAULT']['instance_id'] = 'vm'
        else:
            options['database'] = {'connection': f'sqlite:///{tmp_path}/none.sqlite'}
        stack.write_config(tmp_path / 'x.conf', options)

        code, out, err = run_to_end(program, tmp_path / 'x.conf', '--check-config')

        assert (code, out, err) == (0, 'OK\n', '')
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not (tmp_path / 'none.sqlite').exists()


def test_check_config_tells_the_agents_mistakes_all_at_once(tmp_path):
    path = tmp_path / 'x.conf'
    path.write_text(
        '[DEFAULT]\ninstance_id = a b\n'
        'enabled_extensions = exec,nope\ndebug = maybe\n'
        '[dispatcher]\nworkers = 0\nbacklogg = 3\n'
        '[exec]\nkill_grace = long\npth = /bin\n'
        '[monitoring]\nperiod = 5\n[monitorin]\nperiod = 5\n'
    )

    code, out, err = run_to_end('guestagent', path, '--check-config')

    assert (code, out) == (2, '')
    for expected in (
        f"guestagent: {path}: [DEFAULT] debug: Unexpected boolean value 'maybe'",
        f'guestagent: {path}: [dispatcher] workers: Should be greater than or equal',
        f'guestagent: {path}: [dispatcher] backlogg: there is no such option; did you '
        'mean backlog?',
        f'guestagent: {path}: [exec] kill_grace: ',
        f'guestagent: {path}: [exec] pth: there is no such option; did you mean path?',
        f'guestagent: {path}: [monitorin] period: there is no section [monitorin]',
        f'guestagent: warning: {path}: [monitoring] is not read',
        'guestagent: warning: extension nope: no installed package has',
        "guestagent: [DEFAULT] instance_id: instance id 'a b'",
    ):
        assert expected in err
    assert 'Traceback' not in err


@pytest.mark.parametrize('program', ['guestagent', 'guestagent-conductor'])
def test_check_config_knows_what_a_bus_is(program, tmp_path):
    options = {'DEFAULT': {'transport_url': 'carrier-pigeon://u:hunter2@h/'}}
    if program == 'guestagent':
        options['DEFAULT']['instance_id'] = 'vm'
    stack.write_config(tmp_path / 'x.conf', options)

    code, out, err = run_to_end(program, tmp_path / 'x.conf', '--check-config')

    assert (code, out) == (2, '')
    assert err.startswith(f'{program}: transport_url: ')
    assert err.count('\n') == 1
    assert 'hunter2' not in err


def test_a_required_extension_that_is_missing_is_a_mistake(tmp_path):
    stack.write_config(
        tmp_path / 'x.conf',
        {
            'DEFAULT': {
                'instance_id': 'vm',
                'enabled_extensions': 'nope',
                'require_extensions': True,
            }
        },
    )

    code, out, err = run_to_end('guestagent', tmp_path / 'x.conf', '--check-config')

    assert (code, out) == (2, '')
    assert 'extension nope: no installed package has' in err


@pytest.mark.parametrize(
    ('section', 'name', 'value', 'problem'),
    [
        ('DEFAULT', 'heartbeat_interval', 5, 'did you mean [reports] heartbeat_inter'),
        ('reports', 'heartbeat', 5, 'there is no such option'),
        ('reports', 'heartbeat_interval', 'often', 'could not convert'),
        ('exec', 'timeout_max', 0, 'Should be greater than or equal to 1'),
        ('metrics', 'listen', 'here', "'here': write /path/of/a/socket"),
    ],
)
def test_a_mistake_stops_the_agents_start(tmp_path, section, name, value, problem):
    path = tmp_path / 'x.conf'
    stack.write_config(
        path,
        {'DEFAULT': {'instance_id': 'vm', 'transport_url': 'rabbit://127.0.0.1:1/'}},
        {section: {name: value}},
    )

    code, _, err = run_to_end('guestagent', path)

    last = err.splitlines()[-1]
    assert code == 2
    assert last.startswith(f'guestagent: {path}: [{section}] {name}: ')
    assert problem in last


@pytest.mark.parametrize(
    ('section', 'name', 'value', 'problem'),
    [
        ('conductor', 'batchsize', 5, 'did you mean batch_size?'),
        ('oslo_messaging_rabbit', 'ssl_', 1, 'there is no such option'),
        ('oslo_messaging_rabbit', 'rabbit_quorum_queue', 'x', 'Unexpected boolean'),
        ('conductor', 'batch_size', 0, 'Should be greater than or equal to 1'),
    ],
)
def test_a_mistake_stops_the_conductors_start(tmp_path, section, name, value, problem):
    path = tmp_path / 'x.conf'
    stack.write_config(
        path,
        {
            'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'},
            'database': {'connection': f'sqlite:///{tmp_path}/x.sqlite'},
            section: {name: value},
        },
    )

    code, _, err = run_to_end('guestagent-conductor', path)

    last = err.splitlines()[-1]
    assert code == 2
    assert last.startswith(f'guestagent-conductor: {path}: [{section}] {name}: ')
    assert problem in last


def test_a_port_in_use_stops_the_start(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as server:
        where = f'127.0.0.1:{server.getsockname()[1]}'
        stack.write_config(
            tmp_path / 'x.conf',
            {'DEFAULT': {'instance_id': 'vm'}, 'metrics': {'listen': where}},
        )
        code, _, err = run_to_end('guestagent', tmp_path / 'x.conf')

    assert code == 1
    assert f'[metrics] listen: {where}: Address already in use' in err
