# SPDX-License-Identifier: Apache-2.0
"""The services of the packages under a real systemd, on a machine with no network."""

import json
import pathlib
from collections.abc import Iterator

import pytest

from devstack import processes
from tests.functional.packages import booted, conftest, debian

pytestmark = [pytest.mark.functional, pytest.mark.slow, pytest.mark.timeout(400)]

HUB = 'channel:///run/guestagent-hub'
SERVICES = ('guestagent', 'guestagent-conductor', 'guestagent-hub')


@pytest.fixture(scope='module')
def system(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, pathlib.Path]
) -> Iterator[booted.System]:
    """A machine with all packages, an agent ``deb`` and a conductor on its hub."""
    folder = tmp_path_factory.mktemp('booted')
    try:
        tree = debian.make(folder / 'root')
    except debian.Unavailable as error:
        pytest.skip(str(error))
    conftest.check_python(tree)
    try:
        made = booted.System(tree, folder)
    except debian.Unavailable as error:
        tree.remove()
        pytest.skip(str(error))
    try:
        made.install(*packages.values())
        configure(made)
        yield made
    finally:
        made.stop()
        tree.remove()


def configure(system: booted.System) -> None:
    """Let agent and conductor use the hub, and one extension be a child process."""
    system.write(
        'etc/guestagent/agent.conf.d/test.conf',
        f'[DEFAULT]\ntransport_url = {HUB}\ninstance_id = deb\n'
        '[reports]\nheartbeat_interval = 1\n'
        '[seal]\nallow_plain = true\n'
        '[monitoring]\nisolate = true\n',
        0o640,
    )
    # What an agent leaves that was root until now.
    system.run('systemctl', 'stop', 'guestagent')
    system.run('chown', '-R', 'root:root', '/var/lib/guestagent')
    system.write(
        'etc/default/guestagent-hub',
        'OPTIONS=--group guestagent-hub --guest-group guestagent --guest deb\n',
    )
    system.write(
        'etc/guestagent/conductor.conf.d/test.conf',
        f'[DEFAULT]\ntransport_url = {HUB}\n[metrics]\nlisten = 127.0.0.1:9999\n',
        0o644,
    )
    system.run('systemctl', 'restart', *SERVICES)


def guestctl(system: booted.System, *arguments: str) -> str:
    return system.run('guestctl', '--transport-url', HUB, *arguments)


def wait_up(system: booted.System) -> None:
    """Wait until the conductor knows that the agent is UP."""

    def is_up() -> bool:
        try:
            rows = json.loads(guestctl(system, 'instance', 'list', '-f', 'json'))
        except processes.Failed:
            return False  # the conductor does not answer yet
        return any('UP' in row.values() for row in rows)

    processes.wait_for(is_up, 'deb is UP', 60)


def test_all_run_and_come_up_with_the_machine(system: booted.System) -> None:
    for name in SERVICES:
        assert system.show(name, 'ActiveState') == 'active', name
        assert system.show(name, 'SubState') == 'running', name
        assert system.show(name, 'UnitFileState') == 'enabled', name


def test_the_units_have_no_mistakes(system: booted.System) -> None:
    units = [f'/usr/lib/systemd/system/{name}.service' for name in SERVICES]
    assert system.run('systemd-analyze', 'verify', '--man=no', *units) == ''


def test_a_command_reaches_the_guest_through_the_hub(system: booted.System) -> None:
    wait_up(system)
    said = guestctl(system, 'exec', 'deb', '--', 'systemctl', 'is-active', 'guestagent')
    assert said == 'active\n'


def test_the_agent_is_no_longer_root_and_its_files_are_its_own(
    system: booted.System,
) -> None:
    wait_up(system)
    uid = system.run('id', '-u', 'guestagent').strip()
    status = system.run('cat', f'/proc/{system.show("guestagent", "MainPID")}/status')
    fields = dict(line.split(':\t', 1) for line in status.splitlines())
    assert fields['Uid'].split() == [uid] * 4
    assert int(fields['CapEff'], 16) == int(fields['CapPrm'], 16) == 0
    state = '/var/lib/guestagent'
    found = system.run('stat', '-c', '%U:%G %a', state)
    assert found == 'guestagent:guestagent 700\n'
    assert system.run('find', state, '-name', 'journal*') != ''
    assert system.run('find', state, '!', '-user', 'guestagent') == ''
    assert system.run('find', state, '-perm', '/077') == ''


def test_exec_is_root_and_without_limits(system: booted.System) -> None:
    wait_up(system)
    assert guestctl(system, 'exec', 'deb', '--', 'id', '-un') == 'root\n'
    said = guestctl(system, 'exec', 'deb', '--user', 'nobody', '--', 'id', '-un')
    assert said == 'nobody\n'
    limits = 'ulimit -v; ulimit -t; ulimit -n'
    said = guestctl(system, 'exec', 'deb', '--', 'sh', '-c', limits)
    assert said.split() == ['unlimited', 'unlimited', '8192']


def test_an_isolated_extension_finds_the_packaged_modules(
    system: booted.System,
) -> None:
    wait_up(system)
    found = guestctl(system, 'call', 'deb', 'monitoring.refresh', '-f', 'json')
    assert json.loads(found)
    tasks = system.run('systemctl', 'status', '--no-pager', 'guestagent')
    assert 'guestagent.agent.isolation.child' in tasks


@pytest.mark.parametrize('program', ['guestagent', 'guestctl', 'guestagent-conductor'])
def test_the_programs_find_the_library_of_seals(
    system: booted.System, program: str
) -> None:
    text = (system.path / 'usr/bin' / program).read_text()
    script = text.partition('\nfrom ')[0] + '\nfrom nacl import bindings'
    assert system.run('python3', '-IS', '-c', script) == ''


def test_the_conductor_has_metrics(system: booted.System) -> None:
    script = (
        'import urllib.request as r; '
        'print(r.urlopen("http://127.0.0.1:9999/metrics").read().decode())'
    )
    assert 'guestagent_' in system.run('python3', '-c', script)


def test_who_is_not_in_the_group_is_told_so(system: booted.System) -> None:
    as_nobody = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups']
    with pytest.raises(processes.Failed, match=r'(?i)permission denied'):
        system.run(*as_nobody, 'guestctl', '--transport-url', HUB, 'ping', 'deb')


def test_a_reload_is_one(system: booted.System) -> None:
    pid = system.show('guestagent', 'MainPID')
    system.run('systemctl', 'reload', 'guestagent', 'guestagent-conductor')
    assert system.show('guestagent', 'MainPID') == pid
    assert system.show('guestagent', 'ActiveState') == 'active'
    # The agent could read what its user may read.
    said = system.run('journalctl', '-u', 'guestagent', '--no-pager')
    assert 'the configuration was read again; changed: nothing' in said


def test_what_was_killed_comes_back(system: booted.System) -> None:
    for name in SERVICES:
        system.run('systemctl', 'kill', '--signal=KILL', name)
    for name in SERVICES:
        processes.wait_for(
            lambda name=name: (
                system.show(name, 'NRestarts') == '1'
                and system.show(name, 'ActiveState') == 'active'
            ),
            f'{name} is active again',
            60,
        )
    wait_up(system)


def test_removed_and_purged(
    system: booted.System, packages: dict[str, pathlib.Path]
) -> None:
    system.run('dpkg', '--purge', *packages)
    for name in SERVICES:
        assert system.show(name, 'LoadState') in ('not-found', 'masked'), name
        assert system.show(name, 'ActiveState') == 'inactive', name
    assert not (system.path / 'var/lib/guestagent').exists()
    assert 'guestagent' not in system.run('ls', '/run', '/etc')
