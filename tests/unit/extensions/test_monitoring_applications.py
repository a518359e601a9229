# SPDX-License-Identifier: Apache-2.0
"""What is installed: by each system's own files, the real dpkg, a stand-in for rpm."""

import os
import pathlib
import shutil
import subprocess

import hypothesis
import pytest
from guestagent_monitoring import extension as monitoring_extension
from guestagent_monitoring import spread
from guestagent_monitoring.collectors import applications
from hypothesis import strategies

from guestagent import extension

DPKG = """\
Package: bash
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2
Description: a shell
 Version: 9 is not in a field of its own

Package: libc6
Status: hold ok installed
Architecture: amd64
Version: 2.36-9

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-8

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install ok half-configured
Version: 1.0

Package: last
Status: install ok installed
Version: 1:7"""

APK = 'C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nC:Q1y=\nP:busybox\nV:1.36.1-r29\n\n'


@pytest.fixture
def look():
    return applications.Applications()


def test_dpkg_of_a_sample(tree, look):
    root = tree({'var/lib/dpkg/status': DPKG})

    assert look(root) == {
        'dpkg': {'bash': '5.2.15-2', 'last': '1:7', 'libc6': '2.36-8, 2.36-9'}
    }


def test_an_image_without_dpkg_itself(tree, look):
    root = tree(
        {
            'var/lib/dpkg/status.d/base': 'Package: base-files\nVersion: 12.4\n',
            'var/lib/dpkg/status.d/base.md5sums': 'Package: no\nVersion: 1\n',
        }
    )

    assert look(root) == {'dpkg': {'base-files': '12.4'}}


def test_apk_flatpak_and_snap_of_a_sample(tree, look):
    app = 'var/lib/flatpak/app/org.gnome.Maps'
    root = tree(
        {
            'lib/apk/db/installed': APK,
            f'{app}/current': pathlib.Path('x86_64/stable'),
            f'{app}/x86_64/stable/active': pathlib.Path('0123456789abcdef0123'),
            'var/lib/flatpak/app/no.deployment/x': '',
            'snap/README': '',
            'snap/core22/current': pathlib.Path('1033'),
            'snap/core22/1033/meta/snap.yaml': "name: core22\nversion: '20231123'\n",
            'snap/mine/current': pathlib.Path('x1'),
        }
    )

    assert look(root) == {
        'apk': {'busybox': '1.36.1-r29', 'musl': '1.2.5-r0'},
        'flatpak': {'org.gnome.Maps': 'stable 0123456789ab'},
        'snap': {'core22': '20231123', 'mine': 'x1'},
    }


def test_a_guest_that_installs_nothing(tree, look):
    assert look(tree({})) == {}


@pytest.fixture
def rpm(tmp_path, monkeypatch):
    """``rpm(script)``: a program of this name that stands in for the real one."""

    def stand_in(script):
        program = tmp_path / 'bin' / 'rpm'
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv('PATH', f'{program.parent}:{os.environ["PATH"]}')
        return tmp_path / 'asked'

    return stand_in


def test_rpm_is_asked_only_when_its_database_has_changed(tree, look, rpm):
    asked = rpm(
        'printf "%s\\n" "$*" >> "$(dirname "$0")/../asked"\n'
        "printf 'kernel\\t5.14-1\\nbash\\t5.1-2\\nkernel\\t5.14-2\\n"
        "gpg-pubkey\\t1-2\\n'"
    )
    root = tree({'var/lib/rpm/rpmdb.sqlite': 'a'})

    for _ in range(3):
        assert look(root) == {'rpm': {'bash': '5.1-2', 'kernel': '5.14-1, 5.14-2'}}

    assert asked.read_text().splitlines() == [
        f'--root {root} -qa --queryformat ' + r'%{NAME}\t%{VERSION}-%{RELEASE}\n'
    ]
    tree({'var/lib/rpm/rpmdb.sqlite-wal': 'b'})
    look(root)
    assert len(asked.read_text().splitlines()) == 2


def test_rpm_that_fails_is_no_guest_without_applications(tree, look, rpm):
    rpm('echo "error: rpmdb is broken" >&2; exit 1')
    root = tree({'var/lib/rpm/Packages': 'a', 'var/lib/dpkg/status': DPKG})

    for _ in range(2):
        with pytest.raises(OSError, match=r'rpm has failed \(1\): .*rpmdb is broken'):
            look(root)


def test_rpm_that_hangs_is_ended(tree, look, rpm, monkeypatch):
    monkeypatch.setattr(applications, '_RPM_SECONDS', 0.2)
    rpm('exec sleep 600')

    with pytest.raises(TimeoutError, match='rpm has not ended within'):
        look(tree({'var/lib/rpm/Packages': 'a'}))


@pytest.mark.skipif(shutil.which('dpkg-query') is None, reason='there is no dpkg')
def test_the_real_dpkg(look):
    said = subprocess.run(
        ['dpkg-query', '-W', '-f', '${db:Status-Status} ${Package} ${Version}\n'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = {}
    for line in said.splitlines():
        state, name, version = line.split()
        if state == 'installed':
            wanted.setdefault(name, set()).add(version)

    assert look('/')['dpkg'] == {
        name: ', '.join(sorted(versions)) for name, versions in wanted.items()
    }


@pytest.mark.parametrize(
    ('name', 'group'),
    [
        ('bash', 'b'),
        ('libc6', 'libc'),
        ('lib', 'lib'),
        ('Xorg', 'x'),
        ('org.gnome.Maps', 'o'),
        ('0ad', '0'),
        ('lib+x', 'lib_'),
    ],
)
def test_groups(name, group):
    assert spread.group_of(name) == group


NAMES = strategies.sampled_from(['bash', 'bzip2', 'libc6', 'libcap', 'zlib', 'Zoo'])
APPLICATIONS = strategies.dictionaries(
    strategies.sampled_from(['dpkg', 'snap']),
    strategies.dictionaries(NAMES, strategies.sampled_from(['1', '2'])),
)


@hypothesis.given(strategies.lists(APPLICATIONS, min_size=1))
def test_whoever_follows_the_facts_knows_all_that_is_installed(steps):
    moving, known = spread.Spread(), {}
    for now in steps:
        told, _ = moving.move(now)
        known = {key: value for key, value in (known | told).items() if value}
        assert known == spread.facts(now)
        found = {}
        for key, group in known.items():
            found.setdefault(key.split('.')[1], {}).update(group)
        assert found == {name: mine for name, mine in now.items() if mine}


def test_an_event_says_what_has_changed():
    before = {'dpkg': {'a': '1', 'b': '1', 'c': '1'}}
    now = {'dpkg': {'a': '1', 'b': '2'}, 'snap': {'d': '7'}}

    assert spread.changes(before, now) == {
        'added': {'snap': {'d': '7'}},
        'removed': {'dpkg': {'c': '1'}},
        'changed': {'dpkg': {'b': ['1', '2']}},
        'omitted': 0,
    }
    assert spread.changes(now, now) == {}


def test_an_event_is_bounded():
    many = {'dpkg': {f'p{number}': '1' for number in range(spread.EVENT_MAX + 7)}}

    event = spread.changes({}, many)

    assert (len(event['added']['dpkg']), event['omitted']) == (spread.EVENT_MAX, 7)


@pytest.fixture
def installed(make, host, monkeypatch):
    """An extension, and what it finds installed."""
    now = {'dpkg': {'bash': '1', 'zlib': '1'}}
    monkeypatch.setattr(applications, '_APPLICATIONS', lambda: dict(now))
    host.events = []
    host.report_event = lambda _, name, data: host.events.append((name, data))
    return make(monitoring_extension.Monitoring, 'monitoring'), now


def test_only_the_difference_is_sent(installed, host):
    made, now = installed
    made.collect_applications()
    made.collect_applications()
    now['dpkg'] = {'bash': '2', 'zlib': '1'}
    made.collect_applications()
    del now['dpkg']
    made.refresh(extension.Context())

    first, second, third, fourth = host.facts
    assert first['applications.dpkg.b'] == {'bash': '1'}
    assert first['application_digests']['dpkg']['count'] == 2
    # What has not changed is not sent on by the agent.
    assert list(second) == ['application_digests']
    assert second['application_digests'] == first['application_digests']
    assert third['applications.dpkg.b'] == {'bash': '2'}
    assert third['application_digests'] != first['application_digests']
    assert fourth['applications.dpkg.b'] is fourth['applications.dpkg.z'] is None
    assert [name for name, _ in host.events] == ['applications', 'applications']
    assert host.events[0][1]['changed'] == {'dpkg': {'bash': ['1', '2']}}
    assert host.events[1][1]['removed'] == {'dpkg': {'bash': '2', 'zlib': '1'}}


def test_what_cannot_be_told_is_not_gone(installed, host, monkeypatch):
    made, _ = installed
    made.collect_applications()

    def fail():
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr(applications, '_APPLICATIONS', fail)
    made.collect_applications()
    # The summary is told, and what it is about changes before that is looked at.
    monkeypatch.setitem(made.collectors, 'application_digests', lambda: {'dpkg': 'new'})
    made.collect_applications()

    assert host.facts[1:] == [{}, {}]
    assert 'Input/output error' in made.health()
    assert host.events == []
