# SPDX-License-Identifier: Apache-2.0
"""guestctl against real agents, a real conductor and a real broker."""

import json
import os
import re
import subprocess
import urllib.parse
from typing import Any

import pytest

from devstack import processes, servers, stack

pytestmark = pytest.mark.functional


def one_line(done: 'subprocess.CompletedProcess[str]', pattern: str) -> bool:
    """Whether all that was printed is one line on standard error like this."""
    return not done.stdout and bool(
        re.fullmatch(f'guestctl: .*{pattern}.*\n', done.stderr)
    )


def wait_for_state(guestctl: Any, instance: str, state: str) -> None:
    """Wait until the conductor has the instance in this state."""

    def reached() -> bool:
        done = guestctl('instance', 'list', '--state', state, '-f', 'json')
        return done.returncode == 0 and instance in [
            record['id'] for record in json.loads(done.stdout)
        ]

    processes.wait_for(reached, f'{instance} is {state}')


def test_guest_and_conductor_that_never_were(guestctl: Any) -> None:
    guest, conductor = guestctl('ping', 'vm-1'), guestctl('instance', 'list')

    assert guest.returncode == 3
    assert one_line(guest, 'no guest .vm-1. on this bus .exchange .guestagent.')
    assert conductor.returncode == 4
    assert one_line(conductor, 'no conductor on this bus .*: start guestagent-cond')


@pytest.mark.parametrize(
    ('change', 'pattern'),
    [
        ({'password': 'wrong'}, 'it refuses the user or the password; '),
        ({'path': '/nowhere'}, 'NOT_ALLOWED - vhost nowhere not found'),
        ({'port': 1}, 'Connection refused'),
    ],
)
def test_bus_that_cannot_be_used(
    bus_url: str, change: dict[str, Any], pattern: str
) -> None:
    parts = urllib.parse.urlsplit(bus_url)
    port = change.get('port', parts.port)
    url = (
        f'rabbit://guest:{change.get("password", "guest")}@127.0.0.1:{port}'
        f'{change.get("path", parts.path)}'
    )

    done = stack.guestctl(url, 'ping', 'vm-1')

    assert done.returncode == 1
    assert one_line(done, f'message bus at 127.0.0.1:{port}: .*{pattern}')
    assert 'guest:' not in done.stderr


def test_exec(agent: Any, guestctl: Any, bus_url: str) -> None:
    name = agent().instance

    done = guestctl(
        'exec',
        name,
        '--env',
        'A=1',
        '--cwd',
        '/',
        '--shell',
        '--',
        'echo out $A; pwd; echo err >&2; exit 7',
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, 'out 1\n/\n', 'err\n')

    data = bytes(range(256)) * 40
    binary = subprocess.run(
        [stack.script('guestctl'), 'exec', name, '--stdin', '--', 'cat'],
        input=data,
        env={**os.environ, stack.URL_VARIABLE: bus_url},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (binary.returncode, binary.stdout, binary.stderr) == (0, data, b'')


def test_exec_that_ends_otherwise(agent: Any, guestctl: Any) -> None:
    name = agent().instance

    killed = guestctl('exec', name, '--shell', '--', 'kill -9 $$')
    late = guestctl('exec', name, '--timeout', '0.5', '--', 'sleep', '60')
    cut = guestctl('exec', name, '--output-limit', '3', '--', 'echo', 'abcdef')
    missing = guestctl('exec', name, '--', '/no/such/program')

    assert (killed.returncode, killed.stderr) == (137, '')
    assert late.returncode == 124
    assert one_line(late, 'killed after 0.5 s')
    assert (cut.returncode, cut.stdout) == (0, 'abc')
    assert 'stdout was cut' in cut.stderr
    assert missing.returncode in (125, 126, 127)
    assert missing.stderr.count('\n') == 1


def test_what_the_guest_answers(agent: Any, guestctl: Any) -> None:
    name = agent().instance

    assert guestctl('ping', name).returncode == 0
    done = guestctl('call', name, 'exec.run', 'argv=["echo", "ö"]')
    assert json.loads(done.stdout)['stdout'] == 'ö\n'
    wrong = guestctl('call', name, 'exec.run', 'argv=1')
    assert wrong.returncode == 1
    assert one_line(wrong, 'argv')
    unknown = guestctl('call', name, 'nope.run')
    assert unknown.returncode == 1
    assert one_line(unknown, f'does not serve .nope. .*extension list {name}')

    shown = guestctl('extension', 'show', name, 'exec', '-f', 'json')
    assert 'run' in [
        command['name'] for command in json.loads(shown.stdout)['commands']
    ]
    assert 'argv: ' in guestctl('extension', 'show', name, 'exec', 'run').stdout
    nope = guestctl('extension', 'show', name, 'nope')
    assert nope.returncode == 3
    assert one_line(nope, 'no extension .nope.; it has: .*exec')


def test_what_the_conductor_knows(agent: Any, conductor: Any, guestctl: Any) -> None:
    conductor()
    child = agent()
    name = child.instance
    wait_for_state(guestctl, name, 'UP')

    shown = json.loads(guestctl('instance', 'show', name, '-f', 'json').stdout)
    # Three seconds without a heartbeat are enough for the other.
    assert shown['state'] in ('UP', 'DOWN')
    assert {'exec', 'monitoring'} <= shown['extensions'].keys()
    listed = guestctl('extension', 'list', name, '-f', 'value', '-c', 'name')
    assert {'exec', 'monitoring'} <= set(listed.stdout.split())
    processes.wait_for(
        lambda: 'monitoring.' in guestctl('facts', name, 'monitoring.').stdout,
        'facts arrive',
    )
    unknown = guestctl('instance', 'show', 'nobody')
    assert unknown.returncode == 3
    assert one_line(unknown, 'nobody')

    child.kill()
    wait_for_state(guestctl, name, 'DOWN')
    # The conductor is given three seconds to say what it knows.
    silent = processes.wait_for(
        lambda: (
            (done := guestctl('--timeout', '1', 'ping', name))
            and 'for the conductor' in done.stderr
            and done
        ),
        'the conductor tells of it',
    )
    assert silent.returncode == 4
    assert one_line(silent, 'for the conductor it is DOWN, last seen at 20')


def test_cast_that_waits(agent: Any, conductor: Any, guestctl: Any) -> None:
    conductor()
    name = agent().instance
    wait_for_state(guestctl, name, 'UP')

    done = guestctl(
        'cast', name, 'exec.run', '--wait', '-f', 'json', 'argv=["echo", "done"]'
    )
    failed = guestctl('cast', name, 'exec.run', '--wait', '-f', 'json', 'nope=1')

    record = json.loads(done.stdout)
    assert (done.returncode, record['outcome']) == (0, 'done')
    assert record['result']['stdout'] == 'done\n'
    assert (failed.returncode, json.loads(failed.stdout)['outcome']) == (1, 'failed')
    shown = guestctl('command', 'show', name, record['command_id'], '-f', 'json')
    assert json.loads(shown.stdout) == record
    listed = guestctl('command', 'list', name, '-f', 'value', '-c', 'command_id')
    assert record['command_id'] in listed.stdout.split()


def test_reply_queues_do_not_pile_up(
    agent: Any, guestctl: Any, bus_url: str, rabbit: servers.RabbitMQ
) -> None:
    guestctl('ping', agent().instance)

    vhost = urllib.parse.urlsplit(bus_url).path[1:]
    lines = rabbit.ctl('-p', vhost, 'list_queues', 'name', 'arguments').splitlines()
    replies = [line for line in lines if line.startswith('reply_')]
    assert len(replies) == 1
    assert '60000' in replies[0]
