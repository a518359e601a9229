# SPDX-License-Identifier: Apache-2.0
"""The Debian packages: what is in them, and what they do to a system."""

import base64
import configparser
import filecmp
import json
import pathlib
from collections.abc import Callable

import oslo_messaging
import pytest

from devstack import processes, stack
from guestagent.conf import agent as agent_options
from tests.benchmarks import process
from tests.functional.packages import conftest, debian

pytestmark = [pytest.mark.functional, pytest.mark.slow, pytest.mark.timeout(900)]

CORE = {
    'guestagent',
    'guestagent-client',
    'guestagent-common',
    'guestagent-conductor',
    'guestagent-hub',
    'guestagent-seal',
}

#: What dpkg and adduser write for themselves.
BOOKKEEPING = ('var/lib/dpkg/', 'var/log/', 'var/cache/', 'run/adduser')
BOOKKEEPING += ('etc/passwd', 'etc/group', 'etc/shadow', 'etc/gshadow', 'etc/.pwd.lock')


@pytest.fixture
def packaged_agent(
    installed: conftest.Installed,
    bus_url: str,
    tmp_path: pathlib.Path,
    children: list[processes.Process],
    request: pytest.FixtureRequest,
) -> processes.Process:
    """The agent of the package, started as its unit does, as the instance ``deb``.

    Its parameter: the extensions, in place of the usual ones.
    """
    extensions = getattr(request, 'param', None)
    stack.write_config(
        installed.tree.path / 'etc/guestagent/agent.conf.d/bus.conf',
        {
            'DEFAULT': {
                'transport_url': bus_url,
                'instance_id': 'deb',
                **({'enabled_extensions': extensions} if extensions else {}),
            },
            'reports': {'heartbeat_interval': 1},
            'seal': {'allow_plain': True},
        },
    )
    command = service(installed.tree, 'guestagent')['ExecStart'].split()
    child = processes.Process(
        'packaged agent', installed.tree.command(*command), tmp_path / 'agent.log'
    )
    children.append(child)
    child.wait_for(
        lambda: stack.consumers(bus_url, 'guestagent.deb'), 'it takes requests', 120
    )
    return child


def service(tree: debian.Tree, name: str) -> configparser.SectionProxy:
    """Return the section [Service] of a packaged unit."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(tree.path / f'usr/lib/systemd/system/{name}.service')
    return parser['Service']


def owner_and_mode(tree: debian.Tree, path: str) -> str:
    return tree.run('stat', '-c', '%U:%G %a', path).strip()


def test_the_core_and_each_extension_are_packages(
    packages: dict[str, pathlib.Path],
) -> None:
    extensions = {
        f'guestagent-{path.parent.name}'
        for path in debian.ROOT.glob('extensions/*/setup.cfg')
    }
    assert {*packages} == CORE | extensions


def test_the_same_tree_gives_the_same_bytes(tmp_path: pathlib.Path) -> None:
    names = ['guestagent', 'guestagent-exec', 'guestagent-sso']
    only = [word for name in names for word in ('--only', name)]
    first, second = tmp_path / 'first', tmp_path / 'second'
    conftest.build(first, *only)
    conftest.build(second, *only, umask=0o077)
    names = [path.name for path in first.glob('*.deb')]
    assert len(names) == 3
    for name in names:
        assert filecmp.cmp(first / name, second / name, shallow=False), name


def test_an_unknown_package_is_refused(tmp_path: pathlib.Path) -> None:
    done = conftest.run_build(tmp_path, '--only', 'guestagent-none')
    assert done.returncode == 1
    assert done.stderr == (
        'packaging/debian/build: there is no package guestagent-none\n'
    )


def test_what_an_installation_leaves(pristine: conftest.Installed) -> None:
    tree = pristine.tree
    # Configuration holds passwords; state is the service's.
    for name, user, mode in (
        ('agent', 'guestagent', '700'),
        ('conductor', 'guestagent-conductor', '750'),
    ):
        config = f'/etc/guestagent/{name}.conf'
        assert owner_and_mode(tree, config) == f'root:{user} 640'
        assert owner_and_mode(tree, f'{config}.d') == f'root:{user} 2750'
        assert owner_and_mode(tree, f'/var/lib/{user}') == f'{user}:{user} {mode}'
        # The account cannot log in.
        words = tree.run('getent', 'passwd', user).strip().split(':')
        assert words[5:] == [f'/var/lib/{user}', '/usr/sbin/nologin']
    assert owner_and_mode(tree, '/etc/default/guestagent-hub') == 'root:root 644'
    assert tree.run('id', '-un', 'guestagent-hub') == 'guestagent-hub\n'
    # The agent is a user of its own; what must act as root does.
    options = configparser.ConfigParser(interpolation=None)
    options.read(tree.path / 'etc/guestagent/agent.conf')
    assert dict(options.defaults()) == {'user': 'guestagent'}
    # Not one of these sections keeps an agent from starting that lacks the extension.
    packaged = [name for name in options.sections() if 'isolate' in options[name]]
    assert sorted(packaged) == sorted(agent_options.PACKAGED)
    for name in packaged:
        assert options[name]['isolate_user'] == 'root'
        assert options[name].getboolean('isolate')
    # Services are enabled and started through Debian's own helpers.
    for name in ('guestagent', 'guestagent-conductor', 'guestagent-hub'):
        link = f'etc/systemd/system/multi-user.target.wants/{name}.service'
        assert (tree.path / link).is_symlink()
        assert f'start {name}.service' in pristine_log(pristine)
        command = service(tree, name)['ExecStart'].split()[0]
        assert (tree.path / command.lstrip('/')).exists()
    # Each program and file has its manual page.
    manual = tree.path / 'usr/share/man'
    assert {path.name for path in manual.glob('man?/guest*')} == {
        'guestagent-conductor.8.gz',
        'guestagent-conductor.conf.5.gz',
        'guestagent-hub.8.gz',
        'guestagent-qga.8.gz',
        'guestagent.8.gz',
        'guestagent.conf.5.gz',
        'guestctl.1.gz',
    }
    # bash completes guestctl.
    completion = tree.path / 'usr/share/bash-completion/completions/guestctl'
    assert 'instance list' in completion.read_text()
    # Modules are compiled, for nobody but root could do so later.
    modules = [*(tree.path / 'usr/lib/guestagent').rglob('*.py')]
    assert len(modules) > 500
    for module in modules:
        assert [*module.parent.glob(f'__pycache__/{module.stem}.*.pyc')], module


def pristine_log(pristine: conftest.Installed) -> str:
    return (pristine.tree.path / 'var/log/systemctl').read_text()


@pytest.mark.parametrize('packaged_agent', ['exec, accounts, power'], indirect=True)
def test_the_agent_serves_a_stock_client(
    installed: conftest.Installed,
    packaged_agent: processes.Process,
    stock_client: Callable[..., oslo_messaging.RPCClient],
) -> None:
    client = stock_client('deb', 60, namespace='exec', version='1.0')
    result = client.call({}, 'run', argv=['dpkg-query', '-W', 'guestagent-exec'])
    assert result['exit_code'] == 0
    assert result['stdout'].startswith('guestagent-exec\t')

    # What must act as root does, although the agent is not.
    client.call({}, 'run', argv=['useradd', '--create-home', 'alice'])
    accounts = stock_client('deb', 60, namespace='accounts', version='1.0')
    accounts.call({}, 'set_password', user='alice', password='hunter2, alice')
    found = installed.tree.run('getent', 'shadow', 'alice')
    assert found.startswith('alice:$')
    blob = base64.b64encode(b'\0\0\0\x0bssh-ed25519').decode()
    key = f'ssh-ed25519 {blob} me'
    assert accounts.call({}, 'add_keys', user='alice', keys=[key]) == {'added': 1}
    file = '/home/alice/.ssh/authorized_keys'
    assert (installed.tree.path / file[1:]).read_text() == f'{key}\n'
    assert owner_and_mode(installed.tree, file) == 'alice:alice 600'
    power = stock_client('deb', 60, namespace='power', version='1.0')
    assert power.call({}, 'cancel') == {'cancelled': False}


_ASK = """
state=$(mktemp -d)
guestagent-qga -m unix-listen -p /tmp/qga -t "$state" &
python3 - <<EOF
import json, socket, time
client = socket.socket(socket.AF_UNIX)
while client.connect_ex('/tmp/qga'):
    time.sleep(0.05)
read = client.makefile()
for name in 'guest-info', 'guest-get-osinfo':
    client.sendall(json.dumps({'execute': name}).encode())
    print(read.readline().strip())
EOF
kill $!
wait $!
rm -r "$state"
"""


def test_the_program_for_the_clients_of_qemu_ga(pristine: conftest.Installed) -> None:
    info, system = map(json.loads, pristine.tree.run('sh', '-ec', _ASK).splitlines())

    # All extensions are there, and each of its commands with them.
    assert all(item['enabled'] for item in info['return']['supported_commands'])
    assert system['return']['id'] == 'debian'


def test_single_sign_on_has_its_part_of_pam(pristine: conftest.Installed) -> None:
    tree = pristine.tree
    assert owner_and_mode(tree, '/etc/pam.d/gdm-ovirtcred') == 'root:root 644'
    [module] = (tree.path / 'usr/lib').glob('*/security/pam_guestagent.so')
    place = f'/{module.relative_to(tree.path)}'
    assert owner_and_mode(tree, place) == 'root:root 644'
    # It loads where it is, and lacks nothing.
    missing = tree.run('ldd', '-r', place)
    assert 'not found' not in missing
    assert 'undefined' not in missing
    # Each desktop's session starts its agent, which lacks nothing, either.
    unit = (
        'usr/lib/systemd/user/graphical-session.target.wants/guestagent-session.service'
    )
    text = (tree.path / unit).read_text()
    assert 'ExecStart=/usr/bin/env guestagent-session\n' in text
    autostart = tree.path / 'etc/xdg/autostart/guestagent-session.desktop'
    assert 'Exec=guestagent-session\n' in autostart.read_text()
    program = 'DBUS_SESSION_BUS_ADDRESS=unix:path=/no guestagent-session 2>&1'
    found = tree.run('sh', '-c', f'{program} || true')
    assert found == 'guestagent-session: unix:path=/no: No such file or directory\n'
    policy = 'usr/share/dbus-1/system.d/org.ovirt.vdsm.Credentials.conf'
    assert 'own="org.ovirt.vdsm.Credentials"' in (tree.path / policy).read_text()


def test_the_agent_needs_no_more_memory_than_from_pip(
    packaged_agent: processes.Process, agent: Callable[..., stack.Agent]
) -> None:
    installed_agent = agent()

    def needs_no_more() -> bool:
        packaged = process.memory(packaged_agent.pid).anonymous
        return packaged < process.memory(installed_agent.pid).anonymous * 1.05

    # Either may not have done yet all that it does once.
    processes.wait_for(needs_no_more, 'it needs no more', 60, spacing=0.5)


def test_conductor_and_guestctl_know_the_packaged_agent(
    installed: conftest.Installed,
    packaged_agent: processes.Process,
    bus_url: str,
    tmp_path: pathlib.Path,
    children: list[processes.Process],
) -> None:
    tree = installed.tree
    # Given the conductor under its own account, with no option but the bus,
    unit = service(tree, 'guestagent-conductor')
    tree.write(
        'etc/guestagent/conductor.conf', f'[DEFAULT]\ntransport_url = {bus_url}\n'
    )
    account = ['--reuid', unit['User'], '--regid', unit['Group'], '--init-groups']
    conductor = processes.Process(
        'packaged conductor',
        tree.command('setpriv', *account, *unit['ExecStart'].split()),
        tmp_path / 'conductor.log',
    )
    children.append(conductor)

    # when the agent has reported, then guestctl shows it,
    def state() -> str | None:
        try:
            found = json.loads(
                tree.run(
                    'env',
                    f'{stack.URL_VARIABLE}={bus_url}',
                    *('guestctl', 'instance', 'list', '-f', 'json'),
                )
            )
        except processes.Failed:
            return None  # the conductor does not answer yet
        return next((row for row in map(str, found) if "'UP'" in row), None)

    assert "'deb'" in conductor.wait_for(state, 'deb is UP', 180)
    # and the database is where the purge will look for it.
    path = tree.path / 'var/lib/guestagent-conductor/conductor.sqlite'
    assert path.stat().st_uid == conductor_uid(tree)


def conductor_uid(tree: debian.Tree) -> int:
    return int(tree.run('id', '-u', 'guestagent-conductor'))


def test_an_upgrade_keeps_what_the_administrator_decided(
    installed: conftest.Installed, packages: dict[str, pathlib.Path]
) -> None:
    tree = installed.tree
    # Given a configuration of one's own, a service that is off, and no restarts,
    mine = '[DEFAULT]\ndebug = true\n'
    tree.write('etc/guestagent/agent.conf', mine)
    tree.write('etc/guestagent/agent.conf.d/bus.conf', mine, 0o640)
    link = tree.path / 'etc/systemd/system/multi-user.target.wants/guestagent.service'
    link.unlink()
    tree.write('usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n', 0o755)
    installed.told()
    # when a package comes again,
    tree.install(packages['guestagent'])
    # then all that is still so.
    assert (tree.path / 'etc/guestagent/agent.conf').read_text() == mine
    for name in ('agent.conf', 'agent.conf.d/bus.conf'):
        found = owner_and_mode(tree, f'/etc/guestagent/{name}')
        assert found == 'root:guestagent 640'
    assert not link.is_symlink()
    assert installed.told().split() == ['--system', 'daemon-reload']


def test_the_agent_starts_again_when_an_extension_comes(
    installed: conftest.Installed, packages: dict[str, pathlib.Path]
) -> None:
    installed.told()
    installed.tree.install(
        packages['guestagent-exec'], packages['guestagent-monitoring']
    )
    assert installed.told() == 'try-restart guestagent.service\n'
    installed.tree.run('dpkg', '--remove', 'guestagent-exec')
    assert installed.told() == 'try-restart guestagent.service\n'


def test_removed_and_purged_packages_leave_an_account(
    installed: conftest.Installed, packages: dict[str, pathlib.Path]
) -> None:
    tree = installed.tree
    # Given a system that was used,
    written = [
        'etc/guestagent/agent.conf.d/bus.conf',
        'var/lib/guestagent/spool',
        'var/lib/guestagent-conductor/conductor.sqlite',
    ]
    for name in written:
        tree.write(name, '')
    # when the packages are removed, then programs go, configuration and state stay;
    tree.run('dpkg', '--remove', *packages)
    assert not [name for name in tree.files() if name.startswith('usr/lib/guestagent')]
    assert {'etc/guestagent/agent.conf', *written} <= tree.files()
    assert 'stop guestagent.service' in installed.told()
    # when they are purged, then nothing is left
    tree.run('dpkg', '--purge', *packages)
    left = [
        name
        for name in tree.files() ^ installed.before
        if not name.startswith(BOOKKEEPING)
    ]
    assert left == []
    # but the accounts, lest their numbers get other owners.
    assert conductor_uid(tree) > 0
    assert int(tree.run('id', '-u', 'guestagent')) > 0


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('sources.list', '# deb u1 s1 main\ndeb [arch=a b=c] u1 s1 contrib main\n'),
        ('sources.list.d/x.list', 'deb u1 s1 main\ndeb-src u2 s1 main\n'),
        (
            'sources.list.d/x.sources',
            'Types: deb-src deb\nURIs: u1\nSuites: s1\n s1-x\nComponents: main\n\n'
            'Enabled: no\nTypes: deb\nURIs: u2\nSuites: s1\nComponents: main\n\n'
            'Types: deb\nURIs: u3\nSuites: s2\nComponents: main\n',
        ),
    ],
)
def test_a_mirror_is_the_machines_own(
    name: str, text: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'sources.list.d').mkdir()
    (tmp_path / name).write_text(text)
    assert [*debian.mirrors(tmp_path, 's1')] == ['u1']
    assert [*debian.mirrors(tmp_path, 's3')] == []
