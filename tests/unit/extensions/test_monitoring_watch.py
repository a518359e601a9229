# SPDX-License-Identifier: Apache-2.0
"""Notices of changes: with sockets in the kernel's place, and with the kernel."""

import json
import os
import queue
import select
import socket
import subprocess
import sys
import threading

import pytest
from guestagent_monitoring import netlink, sources, watch

from devstack import processes


@pytest.fixture
def kernel():
    """``kernel(fact)``: the other end of a source, which this test announces on."""
    ends = []

    def announce(fact):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        theirs.setblocking(False)
        ends.append(ours)
        return ours, sources.Source((fact,), theirs, select.POLLIN)

    yield announce
    for end in ends:
        end.close()


@pytest.fixture
def start():
    """``start(sources, callback)``: a watch that is stopped in the end."""
    watches = []

    def started(sources, callback, delay=0.05):
        made = watch.Watch(sources, callback, delay)
        watches.append(made)
        made.start()
        return made

    yield started
    for made in watches:
        made.stop()


def watching():
    return [
        thread for thread in threading.enumerate() if thread.name == 'monitoring-watch'
    ]


def test_what_is_announced_together_is_told_once(kernel, start):
    links, link_source = kernel('nics')
    mounts, mount_source = kernel('filesystems')
    _, quiet_source = kernel('hostname')
    told = queue.Queue()
    for _ in range(5):
        links.send(b'changed')
    mounts.send(b'changed')

    start([link_source, mount_source, quiet_source], told.put)

    assert told.get(timeout=60) == ['filesystems', 'nics']
    links.send(b'again')
    assert told.get(timeout=60) == ['nics']
    assert told.empty()


def test_what_a_callback_raises_does_not_end_the_watch(kernel, start, caplog):
    links, source = kernel('nics')
    told = queue.Queue()

    def fail(facts):
        told.put(facts)
        raise RuntimeError('out of luck')

    start([source], fail)
    for _ in range(2):
        links.send(b'changed')
        assert told.get(timeout=60) == ['nics']
    assert 'out of luck' in caplog.text


def test_stop_ends_the_thread_and_closes_the_sources(kernel, start):
    before = watching()
    links, source = kernel('nics')
    made = watch.Watch([source], print, delay=600)
    made.start()
    # It must not wait for the end of the delay.
    links.send(b'changed')

    made.stop()

    assert watching() == before
    assert source.file.fileno() == -1


def test_a_look_that_hangs_does_not_hold_up_the_stop(kernel, monkeypatch, caplog):
    monkeypatch.setattr(watch, 'STOP_SECONDS', 0.05)
    links, source = kernel('nics')
    began, gate = threading.Event(), threading.Event()
    made = watch.Watch([source], lambda _: (began.set(), gate.wait(30)), 0.01)
    made.start()
    links.send(b'changed')
    assert began.wait(60)

    made.stop()

    assert 'did not end in time' in caplog.text
    gate.set()
    made.stop()
    assert source.file.fileno() == -1


def test_what_the_kernel_does_not_let_us_watch_is_left_out(monkeypatch, caplog):
    def refuse():
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(netlink, 'subscribe', refuse)

    opened = sources.open_sources(['filesystems', 'nics', 'hostname'])
    for source in opened:
        source.file.close()

    assert [source.facts for source in opened] == [('filesystems',), ('hostname',)]
    assert 'nics are noticed only periodically' in caplog.text


def test_what_does_not_matter_is_taken_and_not_told(kernel, start):
    devices, source = kernel('disk_serials')
    told = queue.Queue()
    source._matters = netlink.is_of_a_disk
    start([source], told.put)

    devices.send(b'add@/devices/virtual/net/veth0\0ACTION=add\0SUBSYSTEM=net\0')
    devices.send(b'add@/devices/x/block/vdb\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=1\0')
    assert told.get(timeout=60) == ['disk_serials']
    devices.send(b'add@/devices/virtual/net/veth1\0ACTION=add\0SUBSYSTEM=net\0')
    processes.wait_for(
        lambda: not select.select([source.file], [], [], 0)[0], 'all is taken'
    )
    assert told.empty()


def test_sessions_that_come_and_go_are_heard_of(tmp_path, monkeypatch, start):
    monkeypatch.setattr(sources, 'SESSIONS', str(tmp_path))
    told = queue.Queue()
    opened = sources.open_sources(['sessions'])
    start(opened, told.put)

    (tmp_path / '.new').write_text('UID=0')
    assert told.get(timeout=60) == ['sessions']
    (tmp_path / '.new').rename(tmp_path / 'c1')
    assert told.get(timeout=60) == ['sessions']
    (tmp_path / 'c1').unlink()
    assert told.get(timeout=60) == ['sessions']


def test_a_guest_without_logind_has_no_sessions_to_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, 'SESSIONS', str(tmp_path / 'none'))

    assert sources.open_sources(['sessions', 'users']) == []
    with pytest.raises(FileNotFoundError):
        sources.watch_folder(str(tmp_path / 'none'))


def test_a_refused_subscription_leaves_no_socket(monkeypatch):
    class Refusing(socket.socket):
        def bind(self, _address):
            made.append(self)
            raise PermissionError(1, 'Operation not permitted')

    made = []
    monkeypatch.setattr(socket, 'socket', Refusing)

    with pytest.raises(PermissionError):
        netlink.subscribe()

    assert made[0].fileno() == -1


#: Changes a link, the hostname and a mount of its own namespaces; prints what was
#: reported for each, one line of JSON each.
GUEST = """
import fcntl, json, queue, socket, struct, subprocess, sys
from oslo_config import cfg
from guestagent import extension
from guestagent_monitoring.extension import Monitoring

reports = queue.Queue()

class Host(extension.Host):
    def report_facts(self, name, facts):
        reports.put(facts)

conf = cfg.ConfigOpts()
conf.register_opts(Monitoring.list_options(), group='monitoring')
conf([], default_config_files=[], default_config_dirs=[])
for option, value in (('change_delay', 0.1), ('ignored_interfaces', []),
                      ('ignored_filesystem_types', [])):
    conf.set_override(option, value, group='monitoring')
monitoring = Monitoring('monitoring', conf.monitoring, Host())
monitoring.start()

def tell(fact):
    while True:
        facts = reports.get(timeout=60)
        if fact in facts:
            print(json.dumps(facts[fact]), flush=True)
            return

with socket.socket() as any_socket:
    # SIOCSIFFLAGS with IFF_UP: the loopback device gets its addresses.
    fcntl.ioctl(any_socket, 0x8914, struct.pack('16sh14x', b'lo', 1))
tell('nics')
socket.sethostname('renamed')
tell('hostname')
subprocess.run(['mount', '-t', 'tmpfs', 'none', sys.argv[1]], check=True)
tell('filesystems')
monitoring.stop()
"""


def test_the_kernels_own_notices(tmp_path):
    command = ['unshare', '--net', '--uts', '--mount']
    if os.geteuid() != 0:
        command += ['--map-root-user']
    tried = subprocess.run(
        [*command, 'true'], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f'this machine allows no namespaces: {tried.stderr.strip()}')

    done = subprocess.run(
        [*command, sys.executable, '-c', GUEST, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    links, hostname, mounts = map(json.loads, done.stdout.splitlines())
    assert {'family': 'inet', 'address': '127.0.0.1', 'prefix': 8} in [
        address for nic in links if nic['name'] == 'lo' for address in nic['addresses']
    ]
    assert hostname == 'renamed'
    assert [
        (item['type'], item['device'])
        for item in mounts
        if item['mount_point'] == str(tmp_path)
    ] == [('tmpfs', 'none')]
