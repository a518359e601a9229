# SPDX-License-Identifier: Apache-2.0
"""Who runs a datastore's server, with stand-ins for the system's programs."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from guestagent_datastore import engine, holders, models, packages, programs, records
from guestagent_datastore.services import own, systemd, watch

from devstack import processes
from guestagent import errors, extension


class Engine(engine.Engine):
    """A server that sleeps."""

    name = 'sleeper'
    user = ''
    units = ('sleeper.socket', 'sleeper.service')

    def server_command(self) -> models.Command:
        """Return what sleeps until it is told to end, and forks another that does."""
        text = 'import os, time; os.fork(); time.sleep(600)'
        return models.Command(
            (sys.executable, '-c', text), {'A': '50% of "$HOME"'}, self.place.data
        )


@pytest.fixture
def made(tmp_path: pathlib.Path) -> Engine:
    folders = {
        name: tmp_path / name
        for name in ('volume', 'data', 'config', 'run', 'state', 'logs')
    }
    for folder in folders.values():
        folder.mkdir()
    return Engine(models.Place(**folders, user='', port=0, listen=''))


@pytest.fixture
def tools(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder of programs that write down how they were called, and nothing else."""
    folder = tmp_path / 'tools'
    folder.mkdir()
    for name in ('systemctl', 'apt-get', 'dpkg', 'dpkg-query'):
        path = folder / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >>{folder}/calls\n'
            f'[ ! -e {folder}/{name}.says ] || cat {folder}/{name}.says\n'
            f'[ ! -e {folder}/{name}.fails ]\n'
        )
        path.chmod(0o755)
    monkeypatch.setattr(programs, 'PATH', f'{folder}:/usr/bin:/bin')
    return folder


def calls(tools: pathlib.Path) -> list[str]:
    path = tools / 'calls'
    found = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.fixture
def service(made: Engine) -> Iterator[own.Own]:
    found = own.Own(made, made.place.state)
    yield found
    if pid := found.pid():
        os.killpg(pid, signal.SIGKILL)


def test_a_server_of_our_own_is_found_by_a_later_agent(
    made: Engine, service: own.Own
) -> None:
    assert service.pid() == 0
    service.start()
    pid = service.pid()
    assert pid > 0
    later = own.Own(made, made.place.state)
    # Its child has the same file open.
    processes.wait_for(
        lambda: len(subprocess.getoutput(f'pgrep -g {pid}').split()) == 2, 'a child'
    )
    assert later.pid() == pid
    assert os.getsid(pid) == pid
    os.killpg(pid, signal.SIGTERM)
    processes.wait_for(lambda: not service.pid(), 'its end')
    assert later.pid() == 0


def test_what_a_server_left_behind_is_no_server_and_is_ended(
    made: Engine, service: own.Own
) -> None:
    mark = made.place.state / 'server'
    service.start()
    pid = service.pid()
    processes.wait_for(lambda: len(holders.find(mark)) == 2, 'a child')
    os.kill(pid, signal.SIGKILL)
    processes.wait_for(lambda: not service.pid(), 'its end')
    # Its child lives on: neither this agent nor a later one takes it for the server.
    (left,) = holders.find(mark)
    assert own.Own(made, made.place.state).pid() == 0
    service.start()
    assert left not in holders.find(mark)
    assert service.pid() not in (0, pid, left)


def test_the_end_of_a_process_is_told_once_and_only_while_it_is_watched() -> None:
    told: list[int] = []
    ended = threading.Event()

    def tell(pid: int) -> None:
        told.append(pid)
        ended.set()

    watched = watch.Watch(tell)
    sleepers = [subprocess.Popen(['sleep', '600']) for _ in range(2)]
    try:
        watched.watch(sleepers[0].pid)
        watched.watch(sleepers[1].pid)
        sleepers[0].kill()
        sleepers[0].wait()
        assert not ended.wait(0.2)
        sleepers[1].kill()
        assert ended.wait(30)
        assert told == [sleepers[1].pid]
        watched.watch(0)
        watched.stop()
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_systemd_is_given_a_unit_and_the_packages_own_is_off(
    made: Engine, tools: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    units = tmp_path / 'units'
    units.mkdir()
    service = systemd.Systemd(made, 180, units)
    service.start()
    assert [line.split()[1] for line in calls(tools)] == [
        'daemon-reload',
        'disable',
        'disable',
        'reset-failed',
        'start',
    ]
    text = (units / 'guestagent-sleeper.service').read_text()
    assert 'Environment="A=50%% of \\"$$HOME\\""\n' in text
    assert f'WorkingDirectory={made.place.data}\n' in text
    assert 'KillSignal=SIGTERM\n' in text
    service.start()
    assert [line.split()[1] for line in calls(tools)] == ['reset-failed', 'start']
    service.set_enabled(False)
    service.stop()
    assert calls(tools) == [
        'systemctl --quiet disable guestagent-sleeper.service',
        'systemctl stop --no-block guestagent-sleeper.service',
    ]
    (tools / 'systemctl.says').write_text('1234\n')
    assert service.pid() == 1234


def test_apt_is_asked_for_what_is_missing_and_may_start_nothing(
    tools: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / 'policy-rc.d'
    monkeypatch.setattr(packages, 'POLICY', policy)
    context = extension.Context()
    (tools / 'dpkg-query.says').write_text('install ok installed=1.2')
    packages.install(['sleeper', 'sleeper=1.2'], context)
    assert not [line for line in calls(tools) if line.startswith('apt-get')]
    packages.install(['sleeper=1.3'], context)
    asked = [line for line in calls(tools) if line.startswith('apt-get')]
    assert asked[0].endswith(' update')
    assert asked[1].endswith(' install sleeper=1.3')
    packages.upgrade(['sleeper'], context)
    assert calls(tools)[-1].endswith(' install --only-upgrade sleeper')
    (tools / 'apt-get.fails').touch()
    with pytest.raises(errors.GuestError, match='apt-get failed'):
        packages.install(['other=2'], context)
    assert not policy.exists()
    # What an operator has put there stays.
    policy.write_text('#!/bin/sh\n')
    (tools / 'apt-get.fails').unlink()
    packages.install(['sleeper=1.3'], context)
    assert policy.read_text() == '#!/bin/sh\n'
    for name in ('--yes', 'a b', '', 'a;b'):
        with pytest.raises(errors.InvalidArgument, match='is no package'):
            packages.install([name], context)


def test_records_outlive_the_agent(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'kept'
    first = records.Records(folder)
    assert not first.due
    first.want(run=True, enabled=True)
    first.begin(records.Operation('prepare', 12.5, 'id-1'))
    later = records.Records(folder)
    assert later.interrupted == {
        'operation': records.Operation('prepare', 12.5, 'id-1')
    }
    assert later.due
    assert not later.booted
    later.end()
    assert records.Records(folder).interrupted == {}
    later.want(run=False, enabled=True)
    assert not later.due
    # The guest starts again.
    monkeypatch.setattr(records, '_boot', lambda: 'another')
    assert later.booted
    assert later.due
    later.want(run=False, enabled=False)
    monkeypatch.setattr(records, '_boot', lambda: 'a third')
    assert not later.due


def test_programs_that_fail_say_why(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.GuestError, match='No such file'):
        programs.run(models.Command(('no-such-program',)))
    with pytest.raises(errors.GuestError, match=r'sh failed \(3\): because'):
        programs.run(models.Command(('sh', '-c', 'echo because >&2; exit 3')))
    with pytest.raises(errors.GuestError, match='did not end in'):
        programs.run(models.Command(('sleep', '600')), seconds=0.1)
    context = extension.Context()
    threading.Timer(0.2, context.cancel, [errors.Cancelled('enough')]).start()
    # Its child has the pipe open, too: it must go as well.
    script = models.Command(('sh', '-c', 'sleep 600 & wait'))
    with pytest.raises(errors.Cancelled):
        programs.run(script, context=context)
