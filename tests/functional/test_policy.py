# SPDX-License-Identifier: Apache-2.0
"""A policy in real agents: who may do what, and how operators see it."""

import json
import os
import signal
import subprocess

import oslo_messaging
import pytest

from devstack import processes, stack
from guestagent import client, errors
from guestagent.seal import keys

pytestmark = pytest.mark.functional

POLICY = """
[expected]
commands = exec.run, monitoring.*, probe.echo, agent.*

[rule operators]
callers = plain:ops
commands = exec.run
arg.argv = /bin/echo *
arg.argv = /bin/ls -l /proc/self/fd
arg.timeout = **

[rule everybody]
callers = plain:*
commands = probe.*
"""


@pytest.fixture
def policy(tmp_path):
    """Return the file, with rules in it."""
    path = tmp_path / 'policy.conf'
    path.write_text(POLICY)
    path.chmod(0o644)
    return path


@pytest.fixture
def guest(agent, policy):
    """An agent with these rules."""
    return agent(
        extensions='exec,monitoring,probe', options={'policy': {'file': policy}}
    )


def ctl_as(guestctl, caller):
    return lambda *arguments: guestctl('--caller', caller, *arguments)


def test_who_may_do_what(guest, guestctl, stock_client):
    ops, other = ctl_as(guestctl, 'ops'), ctl_as(guestctl, 'other')
    name = guest.instance
    echo = 'argv=["/bin/echo", "hello"]'

    done = ops('call', name, 'exec.run', echo)
    refused = other('call', name, 'exec.run', echo)
    shell = ops('call', name, 'exec.run', 'shell=rm -rf /srv/hunter2')

    assert (done.returncode, json.loads(done.stdout)['stdout']) == (0, 'hello\n')
    assert (refused.returncode, shell.returncode) == (5, 5)
    assert "caller 'other' (a name that is not proven) may not" in refused.stderr
    assert "rule 'operators': argument 'shell' is not named in it" in shell.stderr
    assert 'hunter2' not in shell.stderr + guest.output()

    # Of a stock client, who has no name.
    ping = stock_client(name)
    assert ping.call({}, 'oslo_rpc_server_ping') == 'pong'
    client = stock_client(name, namespace='exec', version='1.0')
    with pytest.raises(Exception, match='a caller without a name may not use') as got:
        client.call({}, 'run', argv=['/bin/echo', 'hello'])
    assert type(got.value).__name__.startswith('Forbidden')
    assert not isinstance(got.value, oslo_messaging.RemoteError)

    # A rule allows it, and the image is not meant to have it.
    assert other('call', name, 'probe.echo', 'value=1').returncode == 0
    assert '[expected]' in other('call', name, 'probe.mark', 'text=x').stderr
    assert 'so refused: ' in guest.output()
    assert 'probe.mark' in guest.output()


def test_rules_may_change_while_the_agent_runs(guest, guestctl, policy):
    name = guest.instance
    echo = ctl_as(guestctl, 'other')
    assert echo('call', name, 'probe.echo', 'value=1').returncode == 0

    policy.write_text(POLICY.replace('plain:*', 'plain:x'))
    os.kill(guest.pid, signal.SIGHUP)
    guest.wait_line('policy: 2 rules(.|\n)*policy: 2 rules')
    assert echo('call', name, 'probe.echo', 'value=1').returncode == 5

    policy.write_text('[rule x]\nnonsense\n')
    os.kill(guest.pid, signal.SIGHUP)
    guest.wait_line(f'the policy stays as it was: {policy}, line 2: ')
    assert ctl_as(guestctl, 'x')('call', name, 'probe.echo', 'value=1').returncode == 0


def test_a_proven_name_is_more_than_a_claim(agent, tmp_path, bus_url):
    policy = tmp_path / 'policy.conf'
    policy.write_text('[rule a]\ncallers = nova\ncommands = probe.*\n')
    masters = [
        keys.Line(keys.COMMANDS, name, True, os.urandom(32))
        for name in ('nova', 'trove')
    ]
    (tmp_path / 'all.keys').write_text(''.join(f'{line}\n' for line in masters))
    (tmp_path / 'vm-1.keys').write_text(
        ''.join(f'{line.derive("vm-1")}\n' for line in masters)
    )
    for path in tmp_path.glob('*.*'):
        path.chmod(0o600)
    agent(
        'vm-1',
        {
            'policy': {'file': policy},
            'seal': {'key_file': tmp_path / 'vm-1.keys', 'allow_plain': False},
        },
        extensions='probe',
    )

    def call(caller):
        file = str(tmp_path / 'all.keys')
        with client.Client(url=bus_url, key_file=file, caller=caller) as guests:
            return guests.call('vm-1', 'probe.mark', {'text': 'x'}, timeout=60)

    assert call('nova') == 1
    with pytest.raises(
        errors.Forbidden, match=r"caller 'trove' may not use probe\.mark"
    ):
        call('trove')
    plain = agent('vm-2', {'policy': {'file': policy}}, extensions='probe')
    with (
        client.Client(url=bus_url, key_file='', caller='nova') as guests,
        pytest.raises(errors.Forbidden, match='a name that is not proven'),
    ):
        guests.call(plain.instance, 'probe.mark', {'text': 'x'}, timeout=60)


def run_agent(config, *arguments):
    return subprocess.run(
        [stack.script('guestagent'), '--config-file', config, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_mistake_stops_the_start(tmp_path):
    policy = tmp_path / 'policy.conf'
    policy.write_text('# mine\n[rule a]\ncallers = x\ncommand = exec.run\n')
    policy.chmod(0o644)
    stack.write_config(
        tmp_path / 'x.conf',
        {
            'DEFAULT': {'instance_id': 'vm', 'state_dir': tmp_path / 'state'},
            'policy': {'file': policy},
        },
    )

    for switch in ((), ('--check-config',)):
        done = run_agent(tmp_path / 'x.conf', *switch)
        assert done.returncode == 2
        assert (
            f'guestagent: {policy}, line 4: [rule a] command: there is no such key'
            in done.stderr
        )


def test_a_decision_explained(tmp_path, policy, guestctl):
    config = tmp_path / 'x.conf'
    stack.write_config(
        config, {'DEFAULT': {'instance_id': 'vm'}, 'policy': {'file': policy}}
    )
    args = '{"argv": ["/bin/echo", "$HOME"]}'

    allowed = run_agent(config, '--explain', 'plain:ops', 'exec.run', args)
    refused = run_agent(config, '--explain', 'plain:', 'agent.cancel')
    wrong = run_agent(config, '--explain', 'plain:ops', 'exec.walk')

    assert (allowed.returncode, allowed.stderr) == (0, '')
    assert allowed.stdout.startswith("allowed: rule 'operators' lets caller 'ops'")
    assert (refused.returncode, refused.stdout) == (1, 'refused: no rule allows it\n')
    assert wrong.returncode == 2
    assert "no command 'exec.walk'; its extensions have: exec.forget" in wrong.stderr

    assert guestctl('policy', 'check', str(policy)).stdout == 'OK: 2 rules\n'
    asked = ('--caller', 'plain:ops', '--command', 'exec.run')
    same = guestctl('policy', 'check', str(policy), *asked, '--json', args)
    other = guestctl('policy', 'check', str(policy), *asked, '--arg', 'shell=x')
    assert (same.returncode, same.stdout) == (0, allowed.stdout)
    assert (other.returncode, other.stdout[:8]) == (1, 'refused:')


def test_what_a_command_gets_of_the_agent(guest, guestctl):
    """No descriptor of the journal, the spool or the bus; and their files are shut."""
    done = ctl_as(guestctl, 'ops')(
        'call', guest.instance, 'exec.run', 'argv=["/bin/ls", "-l", "/proc/self/fd"]'
    )

    listed = json.loads(done.stdout)['stdout']
    numbers = [line.split()[8] for line in listed.splitlines()[1:] if '->' in line]
    # The fourth is the folder that ls reads.
    assert sorted(numbers) == ['0', '1', '2', '3']
    assert str(guest.state) not in listed
    processes.wait_for(lambda: list(guest.state.iterdir()), 'the state is kept')
    assert guest.state.stat().st_mode & 0o777 == 0o700
    for path in guest.state.rglob('*'):
        assert path.stat().st_mode & 0o077 == 0, path
