# SPDX-License-Identifier: Apache-2.0
"""Commands through crashes: a real agent, killed at each point of a command's life."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import threading

import pytest

from devstack import processes, stack
from guestagent import client, errors
from tests.functional import proxy

pytestmark = pytest.mark.functional


@pytest.fixture
def guests(bus_url):
    with client.Client(url=bus_url, caller='tester') as made:
        yield made


@pytest.fixture
def start(agent, conductor):
    """``start(instance, **options)``: the agent with the probe, and a conductor."""
    conductor()

    def make(instance='vm-1', wait=True, **options):
        return agent(instance, options, wait, extensions='probe')

    return make


@pytest.fixture
def marks(tmp_path):
    """``marks()``: what the commands have written."""
    path = tmp_path / 'marks'
    return lambda: path.read_text().split() if path.exists() else []


def call_beside(guests, *arguments, **more):
    """Call on a thread; return it and the list to which the answer comes."""
    answers = []

    def call():
        try:
            answers.append(guests.call('vm-1', *arguments, **more))
        except errors.GuestAgentError as error:
            answers.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, answers


def wait_running(guests, command_id):
    def running():
        listed = guests.call('vm-1', 'agent.list')
        states = {one['command_id']: one['state'] for one in listed}
        return states.get(command_id) == 'running'

    processes.wait_for(running, f'{command_id} runs')


def test_a_repeat_after_a_restart_is_answered_with_the_outcome(start, guests, marks):
    child = start()
    first = guests.call('vm-1', 'probe.mark', {'text': 'a'}, command_id='id-1')
    with pytest.raises(errors.GuestError):
        guests.call('vm-1', 'probe.mark_again', {'text': '\ud800'}, command_id='id-2')
    child.kill()
    start()

    again = guests.call('vm-1', 'probe.mark', {'text': 'a'}, command_id='id-1')

    assert again == first == 1
    assert marks() == ['a']
    with pytest.raises(errors.IdReused):
        guests.call('vm-1', 'probe.mark', {'text': 'b'}, command_id='id-1')
    with pytest.raises(errors.GuestError, match='surrogates not allowed'):
        guests.call('vm-1', 'probe.mark_again', {'text': '\ud800'}, command_id='id-2')
    status = guests.call(
        'vm-1', 'agent.status', {'command_id': 'id-1', 'caller': 'tester'}
    )
    assert status['state'] == 'done'


def test_killed_while_commands_run(start, guests, marks, tmp_path):
    child = start()
    go = tmp_path / 'go'
    for verb, command_id in (('mark', 'once'), ('mark_again', 'again')):
        guests.cast(
            'vm-1',
            f'probe.{verb}',
            {'text': command_id, 'after': str(go)},
            command_id=command_id,
        )
        wait_running(guests, command_id)

    child.kill()
    assert marks() == []
    start()

    assert guests.wait('vm-1', 'once')['outcome'] == 'interrupted'
    wait_running(guests, 'again')
    go.touch()
    assert guests.wait('vm-1', 'again')['outcome'] == 'done'
    assert marks() == ['again']
    with pytest.raises(errors.Interrupted):
        guests.call(
            'vm-1', 'probe.mark', {'text': 'once', 'after': str(go)}, command_id='once'
        )
    assert marks() == ['again']


@pytest.mark.skipif(shutil.which('strace') is None, reason='needs strace')
@pytest.mark.parametrize('verb', ['mark', 'mark_again'])
@pytest.mark.parametrize('sync', [1, 2])
def test_killed_when_it_syncs(start, guests, marks, tmp_path, verb, sync):
    """The first sync is that of the command, the second that of its outcome."""
    child = start()
    request = {'text': 'a'}
    tracer = trace(child, tmp_path / 'trace', f'fdatasync:signal=SIGKILL:when={sync}')
    thread, answers = call_beside(
        guests, f'probe.{verb}', request, command_id='id-1', timeout=180,
        attempt_timeout=10,
    )  # fmt: skip
    child.wait_end()
    tracer.wait(60)
    ran = marks()
    assert ran == ['a'] * (sync - 1)
    start()

    thread.join(180)
    record = guests.wait('vm-1', 'id-1')
    if sync == 2 or verb == 'mark_again':
        assert (record['outcome'], record['result']) == ('done', 1)
        assert answers == [1]
        assert marks() == ['a']
    else:
        # It was written when the agent was killed: nobody knows that it never ran.
        assert record['outcome'] == 'interrupted'
        assert isinstance(answers[0], errors.Interrupted)
        assert marks() == []


def trace(child, output, inject):
    """Have strace do something to an agent; return it when it is attached.

    Only at what it does to its journal: other files are synced when it is time.
    """
    tracer = subprocess.Popen(
        [
            *('strace', '-f', '-o', output, '-p', str(child.pid)),
            *('-P', child.state / 'journal'),
            *('-e', 'trace=fdatasync', '-e', f'inject={inject}'),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    while 'attached' not in tracer.stderr.readline():
        assert tracer.poll() is None
    return tracer


def test_killed_after_it_has_ended_and_before_its_reply_has_left(
    start, guests, marks, bus_url, rabbit, tmp_path
):
    with proxy.Proxy(rabbit.port) as between:
        url = bus_url.replace(f':{rabbit.port}/', f':{between.port}/')
        child = start(DEFAULT={'transport_url': url})
        thread, answers = call_beside(
            guests, 'probe.mark', {'text': 'a', 'after': str(tmp_path / 'go')},
            command_id='id-1', timeout=180, attempt_timeout=5,
        )  # fmt: skip
        wait_running(guests, 'id-1')
        between.hole = True
        (tmp_path / 'go').touch()
        journal = child.state / 'journal'
        processes.wait_for(lambda: b'"done"' in journal.read_bytes(), 'it has ended')
        child.kill()
    start()

    assert guests.wait('vm-1', 'id-1')['result'] == 1
    thread.join(180)
    assert answers == [1]
    assert marks() == ['a']


def test_what_is_secret_is_not_in_the_folder(start, guests, marks):
    child = start()
    assert guests.call('vm-1', 'probe.secret', {}, command_id='s') == 'hunter2'
    child.kill()
    kept = b''.join(path.read_bytes() for path in child.state.iterdir())
    start()

    assert b'hunter2' not in kept
    assert guests.call('vm-1', 'probe.secret', {}, command_id='s') is None


def test_two_agents_do_not_share_a_folder(start, children, tmp_path):
    child = start()
    config = tmp_path / 'second.conf'
    config.write_text(child.config.read_text())

    second = processes.Process(
        'second', [stack.script('guestagent'), '--config-file', config],
        tmp_path / 'second.log', env={**os.environ, **probe_path()},
    )  # fmt: skip
    children.append(second)

    assert second.wait_end() == 1
    last = second.output().strip().splitlines()[-1]
    assert last.startswith('guestagent: ')
    assert 'is held by another process' in last


def probe_path():
    return {'PYTHONPATH': str(pathlib.Path(__file__).parent / 'probe')}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, in memory."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder], check=False
    )
    if done.returncode:
        pytest.skip('may not mount a file system: needs root')
    yield folder
    subprocess.run(['umount', '-l', folder], check=True)


def fill(path):
    """Write a file until the disk is full."""
    with path.open('wb', buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_refuses_what_changes_the_guest(start, guests, marks, small_disk):
    start(DEFAULT={'state_dir': small_disk / 'state'})
    fill(small_disk / 'filler')

    number, error = call_until_refused(guests)

    assert isinstance(error, errors.DiskFull)
    assert 'no room for' in str(error)
    text = f'id-{number}'
    assert guests.call('vm-1', 'probe.echo', {'value': 1}) == 1
    assert text not in marks()
    (small_disk / 'filler').unlink()
    guests.call('vm-1', 'probe.mark', {'text': text}, command_id=text)

    assert marks() == [f'id-{done}' for done in range(number + 1)]
    events = processes.wait_for(
        lambda: len(found := told(guests)) == 2 and found, 'both events'
    )
    assert events['agent.journal-refuses']['code'] == 'disk-full'
    assert events['agent.journal-accepts'] == {'refused': 1}


def call_until_refused(guests):
    """Mark id-0, id-1 and so on; return the number that was refused, and the error.

    What is left of a page of the file does for a few.
    """
    for number in range(50):
        text = f'id-{number}'
        try:
            guests.call('vm-1', 'probe.mark', {'text': text}, command_id=text)
        except errors.GuestAgentError as error:
            return number, error
    raise AssertionError('none was refused')


def told(guests):
    """Return the events of the journal that the conductor has: {type: data}."""
    try:
        events = guests.conductor.event_list(instance='vm-1')
    except errors.NoSuchInstance:
        return {}
    return {
        one['type']: one['data']
        for one in events['events']
        if one['type'].startswith('agent.journal')
    }
