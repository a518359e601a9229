# SPDX-License-Identifier: Apache-2.0
"""The services of the packages under a real systemd, on a machine with no network."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from devstack import processes
from tests.functional.packages import booted, conftest, debian, mariadb

pytestmark = [pytest.mark.functional, pytest.mark.slow, pytest.mark.timeout(900)]

HUB = 'channel:///run/guestagent-hub'
SERVICES = ('guestagent', 'guestagent-conductor', 'guestagent-hub')


@pytest.fixture(scope='module')
def system(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, pathlib.Path]
) -> Iterator[booted.System]:
    """A machine with all packages, an agent ``deb`` and a conductor on its hub."""
    folder = tmp_path_factory.mktemp('booted')
    try:
        tree = mariadb.make(folder / 'root')
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
        'enabled_extensions = exec, monitoring, datastore\n'
        '[reports]\nheartbeat_interval = 1\n'
        '[seal]\nallow_plain = true\n'
        '[monitoring]\nisolate = true\n'
        '[datastore]\nengine = mariadb\nperiod = 0.5\n',
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

    processes.wait_for(is_up, 'deb is UP', 120)


def wait_back(system: booted.System) -> None:
    """Wait until the agent answers: the conductor may not have missed it yet."""

    def answers() -> bool:
        try:
            return bool(guestctl(system, 'ping', 'deb'))
        except processes.Failed:
            return False

    processes.wait_for(answers, 'deb answers', 120)


def test_all_run_and_come_up_with_the_machine(system: booted.System) -> None:
    for name in SERVICES:
        assert system.show(name, 'ActiveState') == 'active', name
        assert system.show(name, 'SubState') == 'running', name
        assert system.show(name, 'UnitFileState') == 'enabled', name


def test_the_units_have_no_mistakes(system: booted.System) -> None:
    names = (*SERVICES, 'guestagent-qga')
    units = [f'/usr/lib/systemd/system/{name}.service' for name in names]
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


def test_what_systemd_and_dpkg_say_is_reported(system: booted.System) -> None:
    wait_up(system)
    said = guestctl(system, 'call', 'deb', 'monitoring.refresh', '-f', 'json')
    found = json.loads(said)
    facts = found['facts']
    assert found['problems'] == {}
    assert {'guestagent', 'guestagent-hub'} <= set(facts['services']['running'])
    assert facts['virtualization']['container'] == 'lxc'
    installed = system.run('dpkg-query', '-W', '-f', '${db:Status-Status}\n')
    count = installed.splitlines().count('installed')
    assert facts['application_digests']['dpkg']['count'] == count


def test_units_that_failed_are_told_to_root(system: booted.System) -> None:
    unit = '[Service]\nType=oneshot\nExecStart=/bin/false\n'
    system.write('etc/systemd/system/fails.service', unit, 0o644)
    system.run('sh', '-c', 'systemctl start fails || systemctl is-failed fails')
    look = (
        'import json, sys; sys.path += ["/usr/lib/guestagent/extensions/monitoring"]; '
        'from guestagent_monitoring.collectors import services; '
        'print(json.dumps(services.services()))'
    )
    told = json.loads(system.run('python3', '-c', look))
    system.run('systemctl', 'reset-failed', 'fails')
    assert 'fails.service' in told['failed']
    assert {'guestagent', 'guestagent-hub'} <= set(told['running'])


@pytest.mark.parametrize('program', ['guestagent', 'guestctl', 'guestagent-conductor'])
def test_the_programs_find_the_library_of_seals(
    system: booted.System, program: str
) -> None:
    text = (system.path / 'usr/bin' / program).read_text()
    script = text.partition('\nfrom ')[0] + '\nfrom nacl import bindings'
    assert system.run('python3', '-IS', '-c', script) == ''


def test_the_conductor_has_metrics(system: booted.System) -> None:
    wait_up(system)
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
    # The agent could read what its user may read.
    processes.wait_for(
        lambda: (
            'the configuration was read again; changed: nothing'
            in system.run('journalctl', '-u', 'guestagent', '--no-pager')
        ),
        'it is read again',
        spacing=0.5,
    )
    processes.wait_for(
        lambda: system.show('guestagent', 'ActiveState') == 'active', 'it is done'
    )
    assert system.show('guestagent', 'MainPID') == pid


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
            120,
        )
    wait_up(system)
    wait_back(system)


#: As the extension has written it, beside the package's own.
UNIT = 'guestagent-mariadb.service'
ROWS = 'SELECT GROUP_CONCAT(number) FROM shop.t'


def datastore(system: booted.System, verb: str, **arguments: Any) -> Any:
    words = ['--json', json.dumps(arguments), '-f', 'json']
    return json.loads(guestctl(system, 'call', *words, 'deb', f'datastore.{verb}'))


def sql(system: booted.System, statement: str) -> str:
    words = ['--batch', '--skip-column-names', '--execute', statement]
    socket = '--socket=/run/guestagent-mariadb/mariadb.sock'
    return system.run('mariadb', '--no-defaults', socket, *words).strip()


def healthy(system: booted.System) -> dict[str, Any]:
    """Wait until the server serves, and return its status."""

    def look() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = datastore(system, 'status')
        except processes.Failed:
            return None  # the agent does not answer yet
        return found if found['state'] == 'healthy' else None

    return processes.wait_for(look, 'the server serves', 120)


def test_apt_installs_a_server_that_systemd_runs(system: booted.System) -> None:
    wait_up(system)
    status = datastore(system, 'prepare', packages=[], memory=64)
    assert status['state'] == 'healthy'
    assert mariadb.installed(system).endswith(' ii ')
    assert system.show(UNIT, 'MainPID') == str(status['pid'])
    assert system.show(UNIT, 'UnitFileState') == 'enabled'
    owner = system.run('stat', '-c', '%U', f'/proc/{status["pid"]}')
    assert owner == 'mysql\n'
    sql(system, 'CREATE DATABASE shop; CREATE TABLE shop.t (number INT PRIMARY KEY)')
    sql(system, 'INSERT INTO shop.t VALUES (1)')
    # The package's own neither runs nor waits for clients at a next start.
    for name in ('mariadb.service', 'mariadb.socket'):
        assert system.show(name, 'ActiveState') == 'inactive'
        assert system.show(name, 'UnitFileState') == 'disabled', name


def test_systemd_stops_and_starts_the_server(system: booted.System) -> None:
    status = datastore(system, 'server_stop')
    assert (status['state'], status['pid']) == ('shutdown', 0)
    assert system.show(UNIT, 'ActiveState') == 'inactive'
    first = datastore(system, 'server_start')
    again = datastore(system, 'server_restart')
    assert (first['state'], again['state']) == ('healthy', 'healthy')
    assert first['pid'] != again['pid'] == int(system.show(UNIT, 'MainPID'))
    # It is no child of the agent's, which may come and go.
    system.run('systemctl', 'restart', 'guestagent')
    assert healthy(system)['pid'] == again['pid']


def test_a_crash_under_systemd_is_told(system: booted.System) -> None:
    pid = healthy(system)['pid']
    system.run('systemctl', 'kill', '--signal=KILL', '--kill-whom=main', UNIT)

    def told() -> bool:
        said = guestctl(system, 'event', 'list', '--instance', 'deb', '-f', 'json')
        return 'datastore.crashed' in said and 'datastore.recovered' in said

    processes.wait_for(told, 'the conductor knows of the crash', 120)
    assert healthy(system)['pid'] not in (0, pid)
    assert system.show(UNIT, 'NRestarts') == '1'
    # Nor does it stay away when it is stopped behind the agent's back.
    pid = healthy(system)['pid']
    system.run('systemctl', 'stop', UNIT)
    processes.wait_for(lambda: healthy(system)['pid'] != pid, 'it is back', 120)


def test_the_server_comes_up_with_the_machine(system: booted.System) -> None:
    system.stop()
    system.start()
    assert healthy(system)['pid'] == int(system.show(UNIT, 'MainPID'))
    assert sql(system, 'SELECT @@port') == '3306'
    assert sql(system, ROWS) == '1'


def test_apt_upgrades_the_server(system: booted.System) -> None:
    before = healthy(system)
    version = mariadb.publish_newer(system)
    done = datastore(system, 'upgrade')
    assert set(done) == {'before', 'after'}
    assert mariadb.installed(system) == f'{version} ii '
    assert mariadb.installed(system, 'mariadb-server-core') == f'{version} ii '
    status = healthy(system)
    assert status['pid'] not in (0, before['pid'])
    assert sql(system, ROWS) == '1'
    assert system.show('mariadb.service', 'ActiveState') == 'inactive'
    assert system.show('mariadb.socket', 'UnitFileState') == 'disabled'


def test_a_package_that_cannot_be_installed_leaves_the_old_server(
    system: booted.System,
) -> None:
    before = mariadb.installed(system)
    version = mariadb.publish_newer(system, broken=True)
    with pytest.raises(processes.Failed, match='pre-installation script'):
        datastore(system, 'upgrade')
    assert mariadb.installed(system) == before
    assert healthy(system)['interrupted'] is None
    assert sql(system, ROWS) == '1'
    sql(system, 'INSERT INTO shop.t VALUES (2)')
    # Once there is a good one it is taken, also where dpkg was cut short meanwhile.
    shown = system.run('dpkg', '--status', 'mariadb-backup')
    system.write('var/lib/dpkg/updates/0000', shown)
    with pytest.raises(processes.Failed, match='dpkg was interrupted'):
        system.run('apt-get', '--yes', 'install', 'mariadb-backup')
    mariadb.withdraw(system, version)
    version = mariadb.publish_newer(system)
    datastore(system, 'upgrade')
    assert mariadb.installed(system) == f'{version} ii '
    assert healthy(system)['state'] == 'healthy'
    assert sql(system, ROWS) == '1,2'
    datastore(system, 'server_stop', disable=True)


def test_removed_and_purged(
    system: booted.System, packages: dict[str, pathlib.Path]
) -> None:
    system.run('dpkg', '--purge', *packages)
    for name in SERVICES:
        assert system.show(name, 'LoadState') in ('not-found', 'masked'), name
        assert system.show(name, 'ActiveState') == 'inactive', name
    assert not (system.path / 'var/lib/guestagent').exists()
    # What is the database server's stays: it could go on.
    left = re.findall('guestagent.*', system.run('ls', '/run', '/etc'))
    assert set(left) <= {'guestagent-mariadb'}
