# SPDX-License-Identifier: Apache-2.0
"""Agent and conductor as operators run them: configuration, systemd, logs, metrics."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import oslo_messaging
import pytest
from prometheus_client import parser

from devstack import processes, stack
from tests.functional import raw

pytestmark = pytest.mark.functional

UNITS = pathlib.Path(__file__).resolve().parents[2] / 'etc/guestagent/systemd'


class Manager:
    """systemd's end of the notification socket; made, it is in the environment."""

    def __init__(self, folder, monkeypatch, seconds=None):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / 'notify'))
        self._socket.setblocking(False)
        self.heard = []
        monkeypatch.setenv('NOTIFY_SOCKET', str(folder / 'notify'))
        if seconds is not None:
            monkeypatch.setenv('WATCHDOG_USEC', str(int(seconds * 1e6)))

    def read(self):
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def wait(self, child, what, times=1):
        child.wait_for(
            lambda: len([text for text in self.read() if what in text]) >= times,
            f'systemd is told {what!r} {times} times; it heard {self.heard}',
        )


def ask(port, path='/metrics'):
    """Return (status, text) of a page."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metrics(port):
    """Return all samples as {'name{label="value"}': value}, read as Prometheus does."""
    status, text = ask(port)
    assert status == 200
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ','.join(
                f'{name}="{value}"' for name, value in sorted(sample.labels.items())
            )
            found[sample.name + (f'{{{labels}}}' if labels else '')] = sample.value
    return found


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


def test_the_agent_tells_systemd_how_it_is(tmp_path, monkeypatch, agent):
    manager = Manager(tmp_path, monkeypatch, seconds=0.2)
    guest = agent(
        wait=False, options={'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'}}
    )

    manager.wait(guest, 'WATCHDOG=1', times=3)

    assert manager.heard[0] == 'READY=1'
    assert manager.heard[1] == (
        f'STATUS=instance {guest.instance}; bus: not connected, trying again'
    )
    os.kill(guest.pid, signal.SIGHUP)
    manager.wait(guest, 'RELOADING=1\nMONOTONIC_USEC=')
    manager.wait(guest, 'READY=1', times=2)
    assert guest.stop() == 0
    assert manager.read()[-1] == 'STOPPING=1'


def test_the_agents_status_line_says_when_the_bus_is_there(
    tmp_path, monkeypatch, agent
):
    manager = Manager(tmp_path, monkeypatch)
    guest = agent(extensions='exec')

    manager.wait(guest, f'STATUS=instance {guest.instance}; bus: connected')


def test_the_conductor_tells_systemd_how_it_is(tmp_path, monkeypatch, conductor):
    manager = Manager(tmp_path, monkeypatch, seconds=0.4)
    child = conductor()

    manager.wait(child, 'STATUS=taking reports')
    manager.wait(child, 'WATCHDOG=1', times=2)

    assert manager.heard[0] == 'READY=1'
    os.kill(child.pid, signal.SIGHUP)
    manager.wait(child, 'RELOADING=1\nMONOTONIC_USEC=')
    manager.wait(child, 'READY=1', times=2)
    assert child.stop() == 0
    assert manager.read()[-1] == 'STOPPING=1'


def test_sighup_takes_what_may_change_and_names_the_rest(tmp_path, monkeypatch, agent):
    Manager(tmp_path, monkeypatch, seconds=0.5)
    port = processes.free_port()
    options = {
        'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'},
        'metrics': {'listen': f'127.0.0.1:{port}'},
        'monitoring': {'period': 3600},
    }
    guest = agent(instance='vm', wait=False, options=options)
    guest.wait_line('guest agent for instance vm')
    before = guest.config.read_text()

    guest.config.write_text(
        before.replace('heartbeat_interval = 1', 'heartbeat_interval = 77')
        .replace('period = 3600', 'period = 55')
        .replace('[DEFAULT]', '[DEFAULT]\ndebug = true')
        + '[dispatcher]\nworkers = 3\n'
    )
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_line(
        r'read again; changed: \[DEFAULT\] debug, \[reports\] heartbeat_interval, '
        r'\[monitoring\] period$'
    )
    guest.wait_line(r'a restart is needed for it: \[dispatcher\] workers$')
    guest.wait_line('DEBUG guestagent.agent.supervision the watchdog is fed')

    guest.config.write_text(before.replace('= 3600', '= soon'))
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_line(r'stays as it was: .*agent-vm.conf: \[monitoring\] period: could')
    assert ask(port, '/healthz')[0] == 503
    assert guest.stop() == 0


def test_sighup_changes_how_often_the_heart_beats_and_periods(
    agent, conductor, tmp_path
):
    conductor()
    port = processes.free_port()
    guest = agent(
        extensions='probe',
        options={
            'metrics': {'listen': f'127.0.0.1:{port}'},
            'reports': {'heartbeat_interval': 3600},
        },
    )
    beats = 'guestagent_reports_sent_total{kind="heartbeat"}'
    guest.wait_for(lambda: metrics(port)[beats] == 1, 'the first heartbeat was sent')

    assert not (tmp_path / 'marks').exists()

    text = guest.config.read_text().replace('= 3600', '= 0.2')
    guest.config.write_text(text.replace('[probe]', '[probe]\nperiod = 0.1'))
    os.kill(guest.pid, signal.SIGHUP)

    guest.wait_for(lambda: metrics(port)[beats] >= 4, 'more are sent')
    guest.wait_for((tmp_path / 'marks').exists, 'the periodic method ran')


def test_sighup_reloads_the_conductor(conductor):
    child = conductor(wait=False)
    child.wait_line('the conductor has started')
    text = child.config.read_text().replace(
        'sweep_interval = 0.5', 'sweep_interval = 9'
    )
    child.config.write_text(f'{text}batch_size = 77\n')

    os.kill(child.pid, signal.SIGHUP)

    child.wait_line(r'read again; changed: \[conductor\] sweep_interval$')
    child.wait_line(r'a restart is needed for it: \[conductor\] batch_size$')
    assert child.stop() == 0


def test_each_line_of_a_json_log_is_an_object(agent, stock_client):
    guest = agent(
        extensions='exec,broken,probe', options={'DEFAULT': {'use_json': True}}
    )
    probe = stock_client(guest.instance, namespace='probe')
    with pytest.raises(oslo_messaging.RemoteError, match='Odd'):
        probe.call({}, 'fail', kind='odd')
    assert guest.stop() == 0

    entries = [json.loads(line) for line in guest.output().splitlines()]

    assert {entry.get('instance') for entry in entries} == {guest.instance}
    for entry in entries:
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z', entry['time'])
        assert entry['level'] in ('INFO', 'WARNING', 'ERROR')
        assert entry['logger']
        assert entry['message']
    failed = [entry for entry in entries if 'exception' in entry]
    assert [entry['message'] for entry in failed] == ['probe.fail failed']
    assert failed[0]['exception'].startswith('Traceback')


def test_the_agents_metrics_say_what_it_did(agent, stock_client, bus_url):
    port = processes.free_port()
    guest = agent(
        extensions='probe,broken', options={'metrics': {'listen': f'127.0.0.1:{port}'}}
    )
    probe = stock_client(guest.instance, namespace='probe')
    assert probe.call({}, 'echo', value=1) == 1
    with pytest.raises(oslo_messaging.RemoteError, match='NoSuchMethod'):
        probe.call({}, 'nothing')
    with raw.RawClient(bus_url) as client:
        client.send(f'guestagent.{guest.instance}', b'\x00 garbage')
        name = 'guestagent_messages_unreadable_total'
        guest.wait_for(lambda: metrics(port)[name] == 1, 'it was counted')

    found = metrics(port)

    for name, value in {
        f'guestagent_info{{instance="{guest.instance}",version="0.1.0"}}': 1,
        'guestagent_requests_total{outcome="done"}': 1,
        'guestagent_requests_total{outcome="failed"}': 0,
        'guestagent_refusals_total{reason="NoSuchMethod"}': 1,
        'guestagent_requests_running': 0,
        'guestagent_requests_waiting': 0,
        'guestagent_messages_repeated_total': 0,
        'guestagent_reports_dropped_total': 0,
        'guestagent_bus_connected': 1,
        'guestagent_bus_connects_total': 1,
        'guestagent_extension_ok{extension="probe"}': 1,
        'guestagent_extension_ok{extension="broken"}': 0,
    }.items():
        assert found[name] == value, name
    # There is no conductor: reports come back, and are kept.
    assert found['guestagent_reports_unsent_total{reason="returned"}'] >= 1
    assert found['guestagent_reports_waiting'] >= 1
    assert found['process_resident_memory_bytes'] > 5e6
    assert 0 < found['process_cpu_seconds_total'] < 60
    assert 0 < found['guestagent_uptime_seconds'] < 600
    assert ask(port, '/healthz') == (200, 'ok\n')


def test_a_page_is_served_while_commands_run_and_garbage_comes(agent, stock_client):
    port = processes.free_port()
    guest = agent(
        extensions='probe',
        options={
            'metrics': {'listen': f'127.0.0.1:{port}'},
            'dispatcher': {'workers': 1},
            'DEFAULT': {'graceful_shutdown_timeout': 0},
        },
    )
    probe = stock_client(guest.instance, namespace='probe')
    for _ in range(2):
        probe.cast({}, 'sleep', seconds=50)

    def busy():
        found = metrics(port)
        return (
            found['guestagent_requests_running'] == 1
            and found['guestagent_requests_waiting'] == 1
        )

    guest.wait_for(busy, 'one command runs and one waits')
    with socket.create_connection(('127.0.0.1', port), timeout=30) as peer:
        peer.sendall(os.urandom(100_000))
        silent = [
            socket.create_connection(('127.0.0.1', port), timeout=30) for _ in range(5)
        ]
        assert ask(port, '/healthz') == (200, 'ok\n')
        assert ask(port, '/nothing')[0] == 404
    for other in silent:
        other.close()
    assert stock_client(guest.instance).call({}, 'oslo_rpc_server_ping') == 'pong'
    assert 'Traceback' not in guest.output()


def test_an_agent_that_listens_nowhere_loads_nothing_for_it():
    code = (
        'import sys\nfrom guestagent.cmd import agent\n'
        "sys.argv[1:] = ['--version']\n"
        'try:\n    agent.main()\nexcept SystemExit: pass\n'
        'print(sorted(sys.modules))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )

    for name in ('guestagent.http', 'guestagent.agent.metrics', 'prometheus_client',
                 'guestagent.conf.reload', 'http.server'):  # fmt: skip
        assert f"'{name}'" not in done.stdout, name


def test_the_conductors_metrics_and_health(conductor, agent, guestctl, rabbit, bus_url):
    port = processes.free_port()
    child = conductor(options={'metrics': {'listen': f'127.0.0.1:{port}'}})
    guest = agent(extensions='exec')
    stored = 'guestagent_conductor_reports_total{kind="heartbeat"}'
    up = 'guestagent_conductor_instances{state="UP"}'

    child.wait_for(lambda: ask(port, '/healthz') == (200, 'ok\n'), 'it is healthy')
    child.wait_for(lambda: metrics(port).get(stored, 0) >= 2, 'heartbeats are counted')
    assert guestctl('instance', 'show', guest.instance).returncode == 0

    found = metrics(port)
    assert found['guestagent_conductor_messages_total'] >= found[stored]
    assert found['guestagent_conductor_reports_rejected_total'] == 0
    assert found['guestagent_conductor_batch_reports_count'] >= 1
    assert found['guestagent_conductor_commit_seconds_sum'] > 0
    assert found['guestagent_conductor_broker_up'] == 1
    assert found['guestagent_conductor_database_up'] == 1
    assert found['guestagent_conductor_broker_connects_total'] == 1
    assert up in found
    shown = 'guestagent_conductor_query_seconds_count{method="instance_show",'
    assert found[shown + 'result="done"}'] == 1
    assert found['process_resident_memory_bytes'] > 5e6

    rabbit.ctl('delete_vhost', bus_url.rpartition('/')[2])

    child.wait_for(lambda: ask(port, '/healthz')[0] == 503, 'the broker is missed')
    assert ask(port, '/healthz')[1].startswith('broker: ')


def test_rejected_reports_are_counted(conductor, bus_url):
    port = processes.free_port()
    child = conductor(options={'metrics': {'listen': f'127.0.0.1:{port}'}})
    with raw.RawClient(bus_url, exchange='guestagent_reports') as client:
        client.send('guestagent_reports.info', b'garbage')

    rejected = 'guestagent_conductor_reports_rejected_total'
    child.wait_for(lambda: metrics(port)[rejected] == 1, 'it was counted')


needs_systemd = pytest.mark.skipif(
    shutil.which('systemd-analyze') is None,
    reason='systemd-analyze is not installed (Debian: systemd)',
)


def made_unit(name, folder):
    """Return a copy of a unit that runs this environment's programs."""
    text = (UNITS / name).read_text()
    path = folder / name
    path.write_text(text.replace('=/usr/bin/', f'={stack.script("")}/'))
    return path


@needs_systemd
@pytest.mark.parametrize('name', sorted(path.name for path in UNITS.iterdir()))
def test_the_units_are_understood(name, tmp_path):
    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', made_unit(name, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, '')


@needs_systemd
def test_the_conductors_unit_is_hardened(tmp_path):
    unit = made_unit('guestagent-conductor.service', tmp_path)
    done = subprocess.run(
        ['systemd-analyze', 'security', '--offline=yes', '--threshold=15', unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agents_unit_has_no_namespace_and_no_limit_that_a_command_inherits():
    set_ = dict(
        line.split('=', 1)
        for line in (UNITS / 'guestagent.service').read_text().splitlines()
        if '=' in line and not line.startswith('#')
    )

    assert set_['PrivateMounts'] == 'no'
    allowed = {'PrivateMounts', 'KeyringMode'}
    confining = re.compile(
        'Private|Protect|Restrict|ReadOnly|ReadWrite|Inaccessible|Bind|Temporary|'
        'SystemCall|Capability|NoNewPriv|RootDir|RootImage|DynamicUser|MemoryDeny|'
        'Lock|DeviceAllow|DevicePolicy|IPAddress|MemoryMax|CPUQuota|TasksMax|User'
    )
    assert {name for name in set_ if confining.match(name)} <= allowed
    assert (set_['Type'], set_['Restart']) == ('notify', 'always')
