# SPDX-License-Identifier: Apache-2.0
"""A real agent whose own folder is on the file system that it freezes."""

from __future__ import annotations

import os
import pathlib
import threading
import time

import pytest
from guestagent_fsfreeze import state

from devstack import processes, stack
from guestagent import client, errors
from guestagent.agent import recordformat
from guestagent.agent.audit import chain, files
from guestagent.agent.journal import records
from tests.functional import hubs

pytestmark = pytest.mark.functional

PROBE = pathlib.Path(__file__).parents[1] / 'probe'


@pytest.fixture
def hub(tmp_path, children):
    made = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(made)
    return made


@pytest.fixture
def guest(hub):
    with client.Client(url=hub.url, caller='tester') as made:

        def call(command, command_id=None, **args):
            return made.call('vm-1', command, args, command_id=command_id, timeout=60)

        yield call


@pytest.fixture
def start(hub, tmp_path, memory, children):
    """``start(volume, under=(), **options)``: the agent, with its state there."""
    started = []

    def made(volume, under=(), **options):
        child = stack.Agent(
            tmp_path,
            hub.url,
            'vm-1',
            {
                'DEFAULT': {
                    'enabled_extensions': 'fsfreeze,probe',
                    'state_dir': volume.point / 'state',
                    'log_file': volume.point / 'log',
                },
                'probe': {'marks': tmp_path / 'marks'},
                'fsfreeze': {
                    'folder': memory / 'run',
                    'only': volume.point,
                    'hooks': tmp_path / 'hooks',
                    **options.get('fsfreeze', {}),
                },
                'freeze': {'folder': memory / 'held', **options.get('freeze', {})},
            },
            PROBE,
            under,
        )
        children.append(child)
        started.append(child)
        return child

    yield made
    for child in started:
        child.kill()  # nobody takes its last reports


def wait_ready(guest):
    def answers():
        try:
            return guest('agent.list') is not None
        except errors.GuestAgentError:
            return False

    processes.wait_for(answers, 'the agent answers')


class Group:
    """A control group of one's own, whose end is the end of all that is in it."""

    def __init__(self):
        root = pathlib.Path('/sys/fs/cgroup')
        mounts = pathlib.Path('/proc/self/mountinfo').read_text().splitlines()
        found = [line.split()[4] for line in mounts if ' - cgroup2 ' in line]
        self.path = pathlib.Path(found[0] if found else root) / f'test-{os.getpid()}'
        try:
            self.path.mkdir()
        except OSError as error:
            pytest.skip(f'this machine gives no control group: {error}')
        if not (self.path / 'cgroup.kill').exists():
            self.path.rmdir()
            pytest.skip('this kernel cannot kill a control group')

    def under(self):
        """Return what starts a program in it."""
        procs = self.path / 'cgroup.procs'
        return ('sh', '-c', f'echo $$ >{procs}; exec "$@"', 'sh')

    def pids(self):
        return [int(pid) for pid in (self.path / 'cgroup.procs').read_text().split()]

    def kill(self):
        (self.path / 'cgroup.kill').write_text('1')
        processes.wait_for(lambda: not self.pids(), 'all are gone')


@pytest.fixture
def group():
    made = Group()
    yield made
    made.kill()
    processes.wait_for(lambda: _removed(made.path), 'the group is removed')


def _removed(path):
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def audited(volume):
    """Return the commands that the audit log says were allowed, and their outcomes."""
    log = files.Files(str(volume.point / 'state/audit.log'), 10**7)
    values = [record.values for record in chain.follow(log.lines(0))]
    return {
        kind: [one['id'] for one in values if one['kind'] == kind]
        for kind in ('allowed', 'outcome')
    }


def journaled(volume):
    """Return how often each command stands in the journal."""
    data = (volume.point / 'state/journal').read_bytes()
    found = {}
    for _, record in recordformat.Parser(data):
        kind, _ = records.head(record)
        if kind == records.ACCEPTED:
            accepted = records.accepted(record)
            found[accepted.id] = found.get(accepted.id, 0) + 1
    return found


def write(folder, stop):
    fd = os.open(folder / 'written', os.O_WRONLY | os.O_CREAT)
    while not stop.is_set():
        os.pwrite(fd, b'x' * 4096, 0)
        os.fsync(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ('kind', 'isolate', 'by'),
    [('ext4', True, 'limit'), ('xfs', False, 'command')],
    ids=['ext4', 'xfs'],
)
def test_killed_with_its_whole_group_while_its_disk_is_frozen(
    volume, memory, group, start, guest, tmp_path, kind, isolate, by
):
    one = volume(kind)
    options = {'isolate': isolate}
    agent = start(one, group.under(), fsfreeze=options)
    wait_ready(guest)
    stop = threading.Event()
    writer = threading.Thread(target=write, args=(one.point, stop))
    writer.start()
    guest('probe.mark', 'before', text='before')

    # Given a disk that is frozen, the agent goes on.
    limit = 10 if by == 'limit' else 600
    frozen = guest('fsfreeze.freeze', 'freeze', limit=limit)
    assert frozen['frozen'] == [str(one.point)]
    for number in range(3):
        assert guest('probe.mark', f'id-{number}', text=f'm{number}') == number + 2
    assert guest('agent.list') is not None
    assert guest('fsfreeze.status')['state'] == 'frozen'
    assert time.time() < frozen['thaws_at']

    # When all of it is killed, and another starts ...
    holder = state.read(str(memory / 'run'))['pid']
    assert holder not in group.pids()
    group.kill()
    agent.kill()
    start(one, group.under(), fsfreeze=options)
    wait_ready(guest)

    # Then that one knows what was accepted, and that the disk is frozen.
    status = guest('fsfreeze.status')
    assert status['state'] == 'frozen' or time.time() >= frozen['thaws_at']
    assert guest('probe.mark', 'id-0', text='m0') == 2
    assert guest('probe.mark', 'after', text='after') == 1

    # And it thaws at its limit, or before; all is where it belongs, once.
    if by == 'command':
        assert guest('fsfreeze.thaw', 'thaw') == {'count': 1}
    processes.wait_for(
        lambda: guest('fsfreeze.status')['state'] == 'thawed', 'the limit'
    )
    processes.wait_for(lambda: not list((memory / 'held').iterdir()), 'the merge')
    stop.set()
    writer.join(30)
    assert not writer.is_alive()
    ids = ['before', 'freeze', 'id-0', 'id-1', 'id-2', 'after']
    ids += ['thaw'] if by == 'command' else []
    assert journaled(one) == dict.fromkeys(ids, 1)
    again = [*ids[:5], 'id-0', *ids[5:]]  # the repeat was allowed, and did not run
    assert audited(one) == {'allowed': again, 'outcome': ids}
    assert (tmp_path / 'marks').read_text().split() == [
        'before', 'm0', 'm1', 'm2', 'after'
    ]  # fmt: skip
    # This line is written after the merge.
    log = one.point / 'log'
    processes.wait_for(
        lambda: f'thawed, by: {by}' in log.read_text(), 'the log tells of the thaw'
    )


def test_a_full_area_refuses_what_changes_the_guest_but_not_the_thaw(
    volume, memory, start, guest
):
    one = volume()
    agent = start(one, freeze={'size': 1024 * 1024})
    wait_ready(guest)
    guest('fsfreeze.freeze', limit=600)

    def fill():
        for _ in range(20):
            guest('probe.mark_again', text='x' * 200000)

    with pytest.raises(errors.DiskFull, match='is frozen, and the area'):
        fill()
    with pytest.raises(errors.DiskFull):
        guest('probe.mark_again', text='x' * 200000)
    assert guest('agent.list') is not None

    # An agent that is told to end leaves it frozen; the next one can thaw it.
    agent.stop()
    assert state.read(str(memory / 'run'))['state'] == 'frozen'
    start(one, freeze={'size': 1024 * 1024})
    wait_ready(guest)
    assert guest('fsfreeze.status')['state'] == 'frozen'
    assert guest('fsfreeze.thaw', 'thaw') == {'count': 1}
    processes.wait_for(lambda: not list((memory / 'held').iterdir()), 'the merge')
    guest('probe.mark_again', text='x' * 200000)
    assert journaled(one)['thaw'] == 1
    assert not one.thaw()
