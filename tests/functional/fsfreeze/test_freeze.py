# SPDX-License-Identifier: Apache-2.0
"""Real file systems, frozen and thawed by the extension with no agent around it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest
from guestagent_fsfreeze import calls, extension, session, state

from devstack import processes
from guestagent import errors, testing
from guestagent.extension import Context

pytestmark = pytest.mark.functional


@pytest.fixture
def make(memory, tmp_path, guestagent_host):
    """``make(*volumes, **options)``: return what starts the extension for these."""

    def made(*volumes, **options):
        chosen = {
            'folder': str(memory / 'run'),
            'hooks': str(tmp_path / 'hooks'),
            # Never the machine's own.
            'only': [str(volume.point) for volume in volumes] or ['/nowhere'],
            **options,
        }
        return testing.started(extension.Fsfreeze, options=chosen, host=guestagent_host)

    return made


def hook(tmp_path, name, text):
    folder = tmp_path / 'hooks'
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever the umask
    path = folder / name
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


class Writer:
    """Writes to a file system, as long as it can."""

    def __init__(self, folder):
        self.count = 0
        self._path = folder / 'written'
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.wait_progress()

    def _run(self):
        with self._path.open('wb') as file:
            while not self._stop:
                file.write(b'x' * 512)
                file.flush()
                self.count += 1
                time.sleep(0.001)

    def wait_progress(self):
        before = self.count
        processes.wait_for(lambda: self.count > before + 1, 'the writer goes on')

    def end(self):
        self._stop = True
        self._thread.join(60)


@pytest.mark.parametrize('kind', ['ext4', 'xfs'])
def test_who_writes_waits_until_the_thaw(make, volume, kind, guestagent_host):
    one = volume(kind)
    writer = Writer(one.point)
    with make(one) as made:
        frozen = testing.call(made, 'freeze', limit=600)
        assert frozen['frozen'] == [str(one.point)]
        assert frozen['count'] == 1
        assert 500 < frozen['thaws_at'] - time.time() <= 600
        count = writer.count
        status = testing.call(made, 'status')
        assert status['state'] == 'frozen'
        assert 500 < status['left'] <= 600
        assert made.busy()
        assert made.health().startswith('frozen since 2')
        assert guestagent_host.holds['fsfreeze']
        with pytest.raises(errors.GuestError, match='frozen already'):
            testing.call(made, 'freeze')
        with pytest.raises(errors.GuestError, match='thaw them first'):
            testing.call(made, 'trim')
        assert writer.count <= count + 1

        assert testing.call(made, 'thaw') == {'count': 1}
        writer.wait_progress()
        writer.end()
        assert testing.call(made, 'status')['state'] == 'thawed'
        assert made.health() == 'ok'
        assert not made.busy()
        assert testing.call(made, 'thaw') == {'count': 0}
        [trimmed] = testing.call(made, 'trim')['paths']
        assert trimmed['path'] == str(one.point)
        assert trimmed['trimmed'] > 0 or 'error' in trimmed
    assert guestagent_host.holds == {}
    names = [name for name, _ in guestagent_host.events]
    assert names == ['fsfreeze.frozen', 'fsfreeze.thawed']
    assert guestagent_host.events[1][1]['by'] == 'command'
    assert guestagent_host.facts == {'fsfreeze.state': 'thawed'}


def test_what_holds_the_disk_of_another_is_frozen_after_it_and_once(
    make, volume, tmp_path
):
    lower = volume(size=64)
    upper = volume(name='upper', folder=lower.point, size=16)
    bound = tmp_path / 'bound'
    bound.mkdir()
    subprocess.run(['mount', '--bind', lower.point, bound], check=True)
    try:
        writer = Writer(upper.point)
        with make(lower, upper) as made:
            frozen = testing.call(made, 'freeze', limit=600)
            assert frozen['frozen'] == [str(upper.point), str(lower.point)]
            assert testing.call(made, 'thaw') == {'count': 2}
            asked = testing.call(made, 'freeze', mountpoints=[str(bound)], limit=600)
            assert asked['frozen'] == [str(bound)]
            assert testing.call(made, 'thaw') == {'count': 1}
        writer.wait_progress()
        writer.end()
    finally:
        subprocess.run(['umount', bound], check=True)


def test_it_thaws_by_itself_at_the_limit(make, volume, guestagent_host):
    one = volume()
    writer = Writer(one.point)
    with make(one) as made:
        began = time.monotonic()
        testing.call(made, 'freeze', limit=2)
        writer.wait_progress()
        assert time.monotonic() - began >= 2
        processes.wait_for(lambda: not made.busy(), 'its end is noticed')
        assert guestagent_host.events[-1][1]['by'] == 'limit'
        assert guestagent_host.holds == {}
    writer.end()


def test_another_agent_takes_up_what_is_frozen(make, volume, guestagent_host):
    one = volume()
    with make(one) as made:
        testing.call(made, 'freeze', limit=600)
    guestagent_host.holds.clear()
    guestagent_host.facts.clear()
    with make(one) as made:
        assert testing.call(made, 'status')['state'] == 'frozen'
        assert guestagent_host.facts == {'fsfreeze.state': 'frozen'}
        assert guestagent_host.holds['fsfreeze']
        assert testing.call(made, 'thaw') == {'count': 1}
    assert guestagent_host.holds == {}
    assert not one.thaw()
    with make(one) as made:
        assert testing.call(made, 'status')['state'] == 'thawed'
    names = [name for name, _ in guestagent_host.events]
    assert names == ['fsfreeze.frozen', 'fsfreeze.thawed']


def test_another_agent_tells_what_happened_meanwhile(
    make, volume, memory, guestagent_host, tmp_path
):
    one = volume()
    hook(tmp_path, 'note', f'echo $1 >>{tmp_path}/noted')
    with make(one) as made:
        testing.call(made, 'freeze', limit=2)
    ended = memory / 'run'
    processes.wait_for(lambda: (state.read(str(ended)) or {}).get('ended'), 'the limit')
    assert (tmp_path / 'noted').read_text() == 'freeze\nthaw\n'
    with make(one) as made:
        processes.wait_for(lambda: not made.busy(), 'it is told')
    name, told = guestagent_host.events[-1]
    assert (name, told['by']) == ('fsfreeze.thawed', 'limit')
    assert state.read(str(ended)) is None


@pytest.mark.parametrize('alive', [True, False], ids=['agent alive', 'agent gone'])
def test_a_holder_that_is_killed_is_replaced(
    make, volume, memory, guestagent_host, tmp_path, alive
):
    one = volume()
    hook(tmp_path, 'note', f'echo $1 >>{tmp_path}/noted')
    folder = str(memory / 'run')
    with make(one) as made:
        testing.call(made, 'freeze', limit=600)
        pid = state.read(folder)['pid']
        if alive:
            os.kill(pid, signal.SIGKILL)
            processes.wait_for(lambda: not made.busy(), 'the agent thaws')
    if not alive:
        os.kill(pid, signal.SIGKILL)
        with make(one) as made:
            processes.wait_for(lambda: not made.busy(), 'the agent thaws')
    assert not one.thaw()
    assert guestagent_host.events[-1][1]['by'] == 'agent'
    assert guestagent_host.holds == {}
    assert (tmp_path / 'noted').read_text() == 'freeze\nthaw\n'


def test_a_holder_that_is_told_to_end_thaws_first(
    make, volume, memory, guestagent_host
):
    one = volume()
    with make(one) as made:
        testing.call(made, 'freeze', limit=600)
        os.kill(state.read(str(memory / 'run'))['pid'], signal.SIGTERM)
        processes.wait_for(lambda: not made.busy(), 'it ends')
    assert guestagent_host.events[-1][1]['by'] == 'signal'
    assert not one.thaw()


def test_hooks_run_before_and_after_and_in_reverse(make, volume, tmp_path):
    one = volume()
    for name in ('10-first', '20-second'):
        hook(tmp_path, name, f'echo {name} $1 >>{tmp_path}/noted')
    hook(tmp_path, '15-no-program', '').chmod(0o644)
    with make(one) as made:
        testing.call(made, 'freeze', limit=600)
        assert (tmp_path / 'noted').read_text().splitlines() == [
            '10-first freeze',
            '20-second freeze',
        ]
        testing.call(made, 'thaw')
        # With nothing to freeze they run, too.
        empty = testing.call(made, 'freeze', mountpoints=['/no/such/place'])
        assert (empty['count'], empty['frozen'], empty['thaws_at']) == (0, [], None)
        assert not made.busy()
    assert (tmp_path / 'noted').read_text().splitlines()[2:] == [
        '20-second thaw',
        '10-first thaw',
        '10-first freeze',
        '20-second freeze',
        '20-second thaw',
        '10-first thaw',
    ]


def test_a_hook_that_fails_refuses_the_freeze(make, volume, tmp_path):
    one = volume()
    hook(tmp_path, '10-note', f'echo $1 >>{tmp_path}/noted')
    hook(tmp_path, '20-fail', '[ $1 = thaw ] || { echo "it is busy"; exit 3; }')
    with make(one) as made:
        with pytest.raises(errors.GuestError, match=r'exit code 3: it is busy$'):
            testing.call(made, 'freeze')
        assert not made.busy()
    assert (tmp_path / 'noted').read_text() == 'freeze\nthaw\n'
    assert not one.thaw()


def test_a_hook_that_hangs_is_killed_with_what_it_has_started(make, volume, tmp_path):
    one = volume()
    hook(
        tmp_path,
        'hang',
        f'[ $1 = thaw ] && exit\nsleep 600 & echo $! >{tmp_path}/pid; wait',
    )
    late = pytest.raises(errors.GuestError, match=r'did not end within 2 s')
    with make(one, hook_timeout=2) as made, late:
        testing.call(made, 'freeze')
    pid = int((tmp_path / 'pid').read_text())
    processes.wait_for(lambda: not _runs(pid), 'what it has started ends')


def _runs(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_hook_that_others_could_change_is_not_run(make, volume, tmp_path):
    one = volume()
    hook(tmp_path, 'open', 'true').chmod(0o777)
    with make(one) as made, pytest.raises(errors.GuestError, match='changed by others'):
        testing.call(made, 'freeze')
    assert not one.thaw()


def test_an_agent_that_cannot_keep_off_refuses_the_freeze(
    make, volume, guestagent_host
):
    one = volume()

    def refuse(*_):
        raise errors.StorageError('the area would be frozen, too')

    guestagent_host.hold_storage = refuse
    with make(one) as made:
        with pytest.raises(errors.GuestError, match='would be frozen, too'):
            testing.call(made, 'freeze')
        assert not made.busy()
    assert not one.thaw()


def test_one_that_somebody_else_has_frozen_is_skipped_and_thawed(make, volume):
    one = volume()
    fd = os.open(one.point, os.O_RDONLY)
    calls.Calls().freeze(fd)
    os.close(fd)
    with make(one) as made:
        frozen = testing.call(made, 'freeze')
        assert frozen['count'] == 0
        [skipped] = frozen['skipped']
        assert skipped['reason'] == 'Device or resource busy'
        assert testing.call(made, 'thaw') == {'count': 1}


def test_one_that_waits_for_what_somebody_else_has_frozen_is_given_up(
    make, volume, monkeypatch
):
    monkeypatch.setattr(session, 'PATIENCE', 0.1)
    lower = volume(size=64)
    upper = volume(name='upper', folder=lower.point, size=16)
    (upper.point / 'unsaved').write_bytes(b'x' * 100000)
    fd = os.open(lower.point, os.O_RDONLY)
    calls.Calls().freeze(fd)
    os.close(fd)
    with make(lower, upper) as made:
        with pytest.raises(errors.GuestError, match=r'not be frozen within 0\.3 s'):
            testing.call(made, 'freeze', mountpoints=[str(upper.point)], limit=0.3)
        assert testing.call(made, 'thaw')['count'] >= 1
        assert not made.busy()
    assert not upper.thaw()
    assert not lower.thaw()


def test_a_cancelled_freeze_thaws(make, volume, tmp_path):
    one = volume()
    hook(
        tmp_path,
        'slow',
        f'touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do sleep 0.05; done',
    )
    context = Context()
    with make(one) as made:
        thread = threading.Thread(
            target=lambda: (
                processes.wait_for((tmp_path / 'begun').exists, 'the hook'),
                context.cancel(errors.Cancelled('nobody wants it')),
                (tmp_path / 'go').touch(),
            )
        )
        thread.start()
        with pytest.raises(errors.GuestError):
            testing.call(made, 'freeze', context=context)
        thread.join()
        processes.wait_for(lambda: not made.busy(), 'its end')
    assert not one.thaw()


@pytest.mark.parametrize('limit', [0, -1, 1e9])
def test_a_limit_must_make_sense(make, limit):
    with make() as made, pytest.raises(errors.InvalidArgument, match='limit'):
        testing.call(made, 'freeze', limit=limit)


def test_its_own_folder_must_not_be_frozen(make, volume):
    one = volume()
    refused = pytest.raises(errors.GuestError, match=r'\[fsfreeze\] folder')
    with make(one, folder=str(one.point / 'run')) as made, refused:
        testing.call(made, 'freeze')
    assert not one.thaw()
