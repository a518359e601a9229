# SPDX-License-Identifier: Apache-2.0
"""Metrics, health and log of agent and conductor, as programs read them."""

import json
import os
import re
import socket
import subprocess
import sys

import oslo_messaging
import pytest

from devstack import processes
from tests.functional import operating, raw

pytestmark = pytest.mark.functional


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
        guest.wait_for(lambda: operating.metrics(port)[name] == 1, 'it was counted')
    # There is no conductor: reports come back, and are kept.
    unsent = 'guestagent_reports_unsent_total{reason="returned"}'
    guest.wait_for(
        lambda: operating.metrics(port).get(unsent, 0) >= 1, 'a report came back'
    )

    found = operating.metrics(port)

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
    assert found['guestagent_reports_waiting'] >= 1
    assert found['process_resident_memory_bytes'] > 5e6
    assert 0 < found['process_cpu_seconds_total'] < 60
    assert 0 < found['guestagent_uptime_seconds'] < 600
    assert operating.ask(port, '/healthz') == (200, 'ok\n')


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
        found = operating.metrics(port)
        return (
            found['guestagent_requests_running'] == 1
            and found['guestagent_requests_waiting'] == 1
        )

    guest.wait_for(busy, 'one command runs and one waits')
    with socket.create_connection(('127.0.0.1', port), timeout=60) as peer:
        peer.sendall(os.urandom(100_000))
        silent = [
            socket.create_connection(('127.0.0.1', port), timeout=60) for _ in range(5)
        ]
        assert operating.ask(port, '/healthz') == (200, 'ok\n')
        assert operating.ask(port, '/nothing')[0] == 404
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

    child.wait_for(
        lambda: operating.ask(port, '/healthz') == (200, 'ok\n'), 'it is healthy'
    )
    child.wait_for(
        lambda: operating.metrics(port).get(stored, 0) >= 2, 'heartbeats are counted'
    )
    assert guestctl('instance', 'show', guest.instance).returncode == 0

    found = operating.metrics(port)
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

    child.wait_for(
        lambda: operating.ask(port, '/healthz')[0] == 503, 'the broker is missed'
    )
    assert operating.ask(port, '/healthz')[1].startswith('broker: ')


def test_rejected_reports_are_counted(conductor, bus_url):
    port = processes.free_port()
    child = conductor(options={'metrics': {'listen': f'127.0.0.1:{port}'}})
    with raw.RawClient(bus_url, exchange='guestagent_reports') as client:
        client.send('guestagent_reports.info', b'garbage')

    rejected = 'guestagent_conductor_reports_rejected_total'
    child.wait_for(lambda: operating.metrics(port)[rejected] == 1, 'it was counted')
