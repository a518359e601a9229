# SPDX-License-Identifier: Apache-2.0
"""Cgroups, in a folder that looks like their hierarchy."""

import pathlib
import signal
import subprocess

import pytest

from guestagent.agent.isolation import limits

BOUNDS = limits.Limits(memory=64, cpu=50, cpu_time=0, files=100)


@pytest.fixture
def hierarchy(tmp_path, monkeypatch):
    """A cgroup of the agent's, with two processes, that systemd has delegated."""
    base = tmp_path / 'system.slice/guestagent.service'
    base.mkdir(parents=True)
    (tmp_path / 'cgroup.controllers').write_text('cpu memory pids\n')
    (base / 'cgroup.subtree_control').write_text('\n')
    (base / 'cgroup.procs').write_text('41\n42\n')
    own = tmp_path / 'self'
    own.write_text('0::/system.slice/guestagent.service\n')
    marks = {base: 'user.delegate'}

    def getxattr(folder, mark):
        if marks.get(pathlib.Path(folder)) != mark:
            raise OSError('no such mark')
        return b'1'

    monkeypatch.setattr(limits.os, 'getxattr', getxattr)
    return tmp_path, base, own, marks


def test_an_extension_gets_a_cgroup_below_the_agents(hierarchy):
    root, base, own, _ = hierarchy
    cgroup = limits.make_cgroup('weather', BOUNDS, root, own)
    cgroup.add(77)

    # In a folder each write replaces the last; the kernel takes them one by one.
    assert (base / 'agent/cgroup.procs').read_text() == '42'
    assert (base / 'cgroup.subtree_control').read_text() == '+cpu +memory +pids'
    folder = base / 'extension-weather'
    assert (folder / 'memory.max').read_text() == str(64 * 2**20)
    assert (folder / 'cpu.max').read_text() == '50000 100000'
    assert (folder / 'cgroup.procs').read_text() == '77'


def test_one_that_has_moved_finds_its_base_again(hierarchy):
    root, base, own, _ = hierarchy
    (base / 'cgroup.subtree_control').write_text('cpu memory pids\n')
    own.write_text('0::/system.slice/guestagent.service/agent\n')
    assert limits.make_cgroup('weather', BOUNDS, root, own) is not None
    assert not (base / 'agent').exists()


def test_no_limit_is_written_for_0(hierarchy):
    root, base, own, _ = hierarchy
    none = limits.Limits(memory=0, cpu=0, cpu_time=0, files=100)
    limits.make_cgroup('weather', none, root, own)
    assert not (base / 'extension-weather/memory.max').exists()
    assert not (base / 'extension-weather/cpu.max').exists()


def test_what_was_not_delegated_is_left_alone(hierarchy):
    root, base, own, marks = hierarchy
    marks.clear()
    assert limits.make_cgroup('weather', BOUNDS, root, own) is None
    assert not (base / 'agent').exists()


@pytest.mark.parametrize('text', ['', '4:memory:/x\n', '0::/nowhere\n'])
def test_without_a_hierarchy_there_is_none(hierarchy, text):
    root, _, own, _ = hierarchy
    own.write_text(text)
    assert limits.make_cgroup('weather', BOUNDS, root, own) is None


def test_the_end_kills_what_is_left(hierarchy):
    root, base, own, _ = hierarchy
    cgroup = limits.make_cgroup('weather', BOUNDS, root, own)
    assert not cgroup.out_of_memory()
    (base / 'extension-weather/memory.events').write_text('oom 1\noom_kill 1\n')
    assert cgroup.out_of_memory()
    # The next process is not told of the former one's end.
    assert not limits.make_cgroup('weather', BOUNDS, root, own).out_of_memory()
    (base / 'extension-weather/cgroup.kill').write_text('')
    cgroup.end()
    assert (base / 'extension-weather/cgroup.kill').read_text() == '1'


def test_a_kernel_that_cannot_kill_a_cgroup_kills_its_processes(hierarchy):
    root, base, own, _ = hierarchy
    cgroup = limits.make_cgroup('weather', BOUNDS, root, own)
    with subprocess.Popen(['/bin/sleep', '600']) as child:
        (base / 'extension-weather/cgroup.procs').write_text(f'{child.pid}\n{2**22}\n')
        cgroup.end()
        assert child.wait(60) == -signal.SIGKILL
