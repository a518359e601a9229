# SPDX-License-Identifier: Apache-2.0
"""Updates that wait, as stand-ins for the managers tell them, and the real apt-get."""

import os
import pathlib
import shutil

import pytest
from guestagent_monitoring.collectors import updates

APT = """\
Inst base-files [12.4+deb12u11] (12.4+deb12u15 Debian:12.15/oldstable [amd64])
Conf base-files (12.4+deb12u15 Debian:12.15/oldstable [amd64])
Inst openssl [3.0.1] (3.0.2 Debian-Security:12/oldstable-security [amd64]) []
Inst linux-image-6.1.0-40-amd64 (6.1.150-1 Debian:12.15/oldstable [amd64])
Remv old-thing [1.0]
"""
DNF = """\

kernel.x86_64                5.14.0-427.el9             baseos
python3.11-libs.x86_64       3.11.9-1.el9               appstream
Obsoleting Packages
grub2-tools.x86_64           1:2.06-80.el9              baseos
    grub2-tools.x86_64       1:2.06-70.el9              @System
"""
APK = """\
Installed:                                Available:
musl-utils-1.2.5-r0                     < 1.2.5-r1
busybox-1.36.1-r29                      < 1.36.1-r30
"""


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """``manager(name, script)``: the only program of these names there is."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('sh', 'cat', 'nice'):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv('PATH', str(folder))

    def stand_in(name, script):
        program = folder / name
        log = tmp_path / 'asked'
        program.write_text(f'#!/bin/sh\necho "$*" >> {log}\n{script}\n')
        program.chmod(0o755)
        return lambda: log.read_text().splitlines()

    return stand_in


def say(text, status=0):
    return f"cat <<'END'\n{text}END\nexit {status}"


def test_apt(tree, manager):
    asked = manager('apt-get', say(APT))
    root = tree({'var/lib/apt/lists/x': '', 'var/lib/dpkg/status': ''})

    assert updates.Updates()(root) == {
        'manager': 'apt-get',
        'count': 3,
        'security': 1,
        'packages': {
            'base-files': '12.4+deb12u15',
            'linux-image-6.1.0-40-amd64': '6.1.150-1',
            'openssl': '3.0.2',
        },
    }
    assert asked() == ['-s -qq -o Debug::NoLocking=1 dist-upgrade']


def test_dnf(tree, manager):
    security = say('\nkernel.x86_64   5.14.0-427.el9   baseos\n', 100)
    asked = manager(
        'dnf', f'case "$*" in *--security*) {security} ;; esac\n{say(DNF, 100)}'
    )
    root = tree({'var/cache/dnf/last_makecache': ''})

    assert updates.Updates()(root) == {
        'manager': 'dnf',
        'count': 2,
        'security': 1,
        'packages': {'kernel': '5.14.0-427.el9', 'python3.11-libs': '3.11.9-1.el9'},
    }
    assert asked() == ['-C -q check-update', '-C -q --security check-update']


def test_apk(tree, manager):
    manager('apk', say(APK))
    root = tree({'var/cache/apk/x': '', 'lib/apk/db/installed': ''})

    assert updates.Updates()(root) == {
        'manager': 'apk',
        'count': 2,
        'security': None,
        'packages': {'busybox': '1.36.1-r30', 'musl-utils': '1.2.5-r1'},
    }


def test_nothing_waits(tree, manager):
    asked = manager('dnf', 'exit 0')

    found = updates.Updates()(tree({'var/cache/libdnf5/x': ''}))

    assert (found['count'], found['security'], found['packages']) == (0, 0, {})
    assert len(asked()) == 1


def test_the_manager_is_asked_when_something_has_changed(tree, manager):
    asked = manager('apt-get', say(APT))
    root = tree({'var/lib/apt/lists/x': '', 'var/lib/dpkg/status': 'a'})
    tell = updates.Updates()

    for _ in range(3):
        tell(root)
    assert len(asked()) == 1
    tree({'var/lib/dpkg/status': 'another'})
    tell(root)
    assert len(asked()) == 2
    tree({'var/lib/apt/lists/y': ''})
    tell(root)
    assert len(asked()) == 3


def test_many_are_counted_and_some_are_named(tree, manager):
    manager(
        'apt-get', say(''.join(f'Inst p{n:03} (1 Debian:12)\n' for n in range(250)))
    )

    found = updates.Updates()(tree({'var/lib/apt/lists/x': ''}))

    assert found['count'] == 250
    assert len(found['packages']) == updates.NAMED_MAX


def test_a_manager_that_fails_is_asked_again(tree, manager):
    asked = manager('apt-get', 'echo "E: broken" >&2; exit 100')
    root = tree({'var/lib/apt/lists/x': ''})
    tell = updates.Updates()

    for _ in range(2):
        with pytest.raises(OSError, match=r'apt-get has failed \(100\): E: broken'):
            tell(root)
    assert len(asked()) == 2


def test_a_guest_without_manager_or_lists(tree, manager):
    assert updates.Updates()(tree({'var/lib/apt/lists/x': ''})) is None
    manager('apt-get', say(APT))
    (pathlib.Path(tree({})) / 'var/lib/apt/lists/x').unlink()
    os.rmdir(pathlib.Path(tree({})) / 'var/lib/apt/lists')
    assert updates.Updates()(tree({})) is None


@pytest.mark.skipif(
    shutil.which('apt-get') is None or not os.path.isdir('/var/lib/apt/lists'),
    reason='there is no apt',
)
def test_the_real_apt_with_three_packages(tree, monkeypatch):
    """It reads lists of ours: nothing is fetched, and the machine is not looked at."""
    root = tree(
        {
            'var/lib/dpkg/status': ''.join(
                f'Package: {name}\nStatus: install ok installed\nVersion: {version}\n'
                f'Maintainer: x <x@example.org>\nArchitecture: all\nDescription: x\n\n'
                for name, version in (('one', '1.0'), ('two', '2.0'), ('three', '3.0'))
            ),
            'lists/here_dists_stable_main_binary-all_Packages': '',
            'source/Packages': ''.join(
                f'Package: {name}\nVersion: {version}\nArchitecture: all\n'
                f'Maintainer: x <x@example.org>\nFilename: ./{name}.deb\nSize: 1\n'
                f'SHA256: {"0" * 64}\nDescription: x\n\n'
                for name, version in (('one', '1.1'), ('two', '2.0'), ('three', '3.1'))
            ),
            'source/Release': 'Origin: Here\nLabel: Here\nSuite: stable-security\n',
            'var/lib/apt/lists/partial/x': '',
            'var/cache/apt/archives/partial/x': '',
            'etc/apt/apt.conf.d/x': '',
        }
    )
    tree(
        {
            'etc/apt/sources.list': f'deb [trusted=yes] file:{root}/source ./\n',
            'apt.conf': f'Dir "{root}";\n'
            f'Dir::State::status "{root}/var/lib/dpkg/status";\n'
            'APT::Architecture "amd64";\nAPT::Sandbox::User "root";\n',
        }
    )
    monkeypatch.setenv('APT_CONFIG', f'{root}/apt.conf')
    updates.programs.ask(['apt-get', '-qq', 'update'], 60)

    found = updates.Updates()(root)

    assert (found['count'], found['packages']) == (2, {'one': '1.1', 'three': '3.1'})
    assert found['security'] == 2
