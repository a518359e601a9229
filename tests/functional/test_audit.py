# SPDX-License-Identifier: Apache-2.0
"""The audit log of real agents, what the conductor knows of it, and who tampers."""

import json

import pytest

from devstack import processes

pytestmark = pytest.mark.functional


def records(child):
    """Return what stands in the log."""
    lines = (child.state / 'audit.log').read_text().splitlines()
    return [json.loads(line) for line in lines]


def of_commands(child):
    """Return what was recorded of commands, without numbers and times."""
    return [
        (
            record['kind'],
            record['command'],
            record.get('outcome') or record.get('error'),
        )
        for record in records(child)
        if 'command' in record
    ]


def told(query, instance):
    """Return the length that the conductor knows, or ``None``."""
    found = query('instance_list')['instances']
    if instance not in [record['id'] for record in found]:
        return None
    audit = query('instance_show', instance=instance)['audit']
    return audit and audit['length']


def wait_told(query, child):
    """Wait until the conductor knows all records."""
    child.wait_for(
        lambda: told(query, child.instance) == len(records(child)),
        'the conductor knows all records',
        seconds=120,
    )


@pytest.fixture
def guest(agent, conductor):
    """An agent with a policy, that a conductor knows."""
    conductor()
    return agent(extensions='exec,probe')


def test_what_is_recorded(guest, guestctl, stock_client):
    name = guest.instance
    probe = stock_client(name, namespace='probe', version='1.0')

    probe.call({}, 'mark', text='hello')
    probe.call({}, 'echo', value=1)
    with pytest.raises(Exception, match='text'):
        probe.call({}, 'mark', text=1)
    secret = guestctl(
        'exec', name, '--env', 'PASSWORD=hunter2', '--', 'sh', '-c', 'echo ${#PASSWORD}'
    )
    assert secret.stdout == '7\n'

    guest.wait_for(lambda: len(of_commands(guest)) >= 5, 'all is recorded')
    assert of_commands(guest) == [
        ('allowed', 'probe.mark', None),
        ('outcome', 'probe.mark', 'done'),
        ('refused', 'probe.mark', 'TypeError'),
        ('allowed', 'exec.spawn', None),
        ('outcome', 'exec.spawn', 'done'),
    ]
    log = guest.state / 'audit.log'
    assert 'hunter2' not in log.read_text()
    assert '"env":"(withheld)"' in log.read_text()
    assert '"args":{"text":"hello"}' in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_refusal_by_the_policy_is_recorded(agent, tmp_path, stock_client):
    path = tmp_path / 'policy.conf'
    path.write_text(
        '[rule a]\ncallers = plain:*\ncommands = probe.*\narg.text = good\n'
    )
    path.chmod(0o600)
    child = agent(extensions='probe', options={'policy': {'file': path}})
    probe = stock_client(child.instance, namespace='probe', version='1.0')

    probe.call({}, 'mark', text='good')
    with pytest.raises(Exception, match=r'may not use probe\.mark'):
        probe.call({}, 'mark', text='bad')

    child.wait_for(lambda: len(of_commands(child)) == 3, 'all is recorded')
    allowed, _, refused = (item for item in records(child) if 'command' in item)
    assert allowed['rule'] == 'a'
    assert refused['error'] == 'forbidden'
    assert "rule 'a': this value of argument 'text'" in refused['reason']


def test_a_crash_is_recorded_and_the_chain_goes_on(agent, stock_client):
    child = agent(extensions='probe')
    probe = stock_client(child.instance, namespace='probe', version='1.0')
    probe.cast({}, 'mark', text='late', seconds=60)
    child.wait_for(lambda: of_commands(child), 'it has begun')

    child.kill()
    again = agent(child.instance, extensions='probe')

    # The broker may deliver the request again, which is one more decision.
    end = ('outcome', 'probe.mark', 'interrupted')
    again.wait_for(lambda: end in of_commands(again), 'its end is recorded')
    assert [item for item in of_commands(again) if item[0] == 'outcome'] == [end]
    numbers = [record['n'] for record in records(again)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_who_tampers_is_seen(guest, guestctl, stock_client, query):
    name, log = guest.instance, guest.state / 'audit.log'
    probe = stock_client(name, namespace='probe', version='1.0')
    for number in range(3):
        probe.call({}, 'mark', text=f'number {number}')
    wait_told(query, guest)

    good = guestctl('audit', 'verify', name)
    assert good.stdout.startswith('OK: records 1 to ')
    assert good.returncode == 0
    whole = log.read_text()
    from_file = guestctl('audit', 'verify', name, '--file', str(log))
    assert from_file.stdout == good.stdout

    copy = log.with_name('copy')
    lines = whole.splitlines(keepends=True)

    def verify(text):
        copy.write_text(text)
        done = guestctl('audit', 'verify', name, '--file', str(copy))
        assert done.returncode == (0 if text == whole else 1)
        return done.stdout

    changed = verify(whole.replace('number 1', 'number 9'))
    assert 'BROKEN: record 5, or one before it, was changed' in changed
    assert 'record 5 follows record 3' in verify(''.join([*lines[:3], *lines[4:]]))
    assert 'the log ends with record 6, and' in verify(''.join(lines[:6]))
    assert verify(whole).startswith('OK')

    # In the guest, behind the agent's back.
    log.write_text(whole.replace('number 1', 'number 9'))
    done = guestctl('audit', 'verify', name)
    assert (done.returncode, done.stdout[:6]) == (1, 'BROKEN')
    nothing = guestctl('audit', 'verify')
    assert nothing.returncode == 2
    assert nothing.stderr.count('\n') == 1


def test_a_log_that_begins_anew_is_an_event(
    agent, guest, guestctl, stock_client, query
):
    probe = stock_client(guest.instance, namespace='probe', version='1.0')
    probe.call({}, 'mark', text='x')
    wait_told(query, guest)
    guest.stop()

    (guest.state / 'audit.log').unlink()
    again = agent(guest.instance, extensions='exec,probe')

    def noticed():
        found = query('event_list', instance=again.instance, type='instance.audit')
        return found['events']

    [event] = processes.wait_for(noticed, 'the conductor notices it')
    assert event['data']['problem'] == 'shorter'
    done = guestctl('audit', 'verify', again.instance)
    assert done.returncode == 1
    assert 'the conductor was told of' in done.stdout
