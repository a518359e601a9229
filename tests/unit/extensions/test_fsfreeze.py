# SPDX-License-Identifier: Apache-2.0
"""The rules of fsfreeze, without a file system; tests/functional/fsfreeze has some."""

import errno
import itertools
import os
import threading

import pytest
from guestagent_fsfreeze import calls, freezing, hooks, mounts, stack, trimming
from hypothesis import given
from hypothesis import strategies as st

from guestagent import extension

MOUNTINFO = """\
22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:22 / /run rw - tmpfs tmpfs rw,size=1000k
25 22 252:2 / /data\\040volume rw shared:2 - xfs /dev/vda2 rw
26 22 252:1 /srv /bound rw - ext4 /dev/vda1 rw
27 22 0:33 /@ /btrfs rw - btrfs /dev/vdb rw,subvol=/@
28 22 11:0 / /cdrom ro - iso9660 /dev/sr0 ro
29 25 7:0 / /data\\040volume/image rw - ext4 /dev/loop0 rw
30 22 0:40 / /nfs rw - nfs4 server:/x rw
31 22 0:41 / /layers rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
"""


def points(groups):
    return {device: [mount.point for mount in groups[device]] for device in groups}


def test_what_has_a_disk_and_can_be_written_is_frozen_once():
    assert points(mounts.freezable(mounts.parse(MOUNTINFO))) == {
        '252:1': ['/', '/bound'],
        '252:2': ['/data volume'],
        '0:33': ['/btrfs'],
        '7:0': ['/data volume/image'],
    }


def test_what_is_named_is_found_under_any_of_its_names():
    found = mounts.parse(MOUNTINFO)
    assert list(mounts.freezable(found, ['/bound', '/proc', '/cdrom'])) == ['252:1']
    assert list(mounts.freezable(found, [])) == []


def test_what_never_may_be_and_what_only_may_be():
    found = mounts.parse(MOUNTINFO)
    assert '252:1' not in mounts.freezable(found, never=['/bound'])
    assert list(mounts.freezable(found, only=['/btrfs', '/data volume'])) == [
        '252:2',
        '0:33',
    ]


def test_a_mount_that_is_hidden_is_not_taken_for_another(tmp_path):
    here = mounts.of_path(str(tmp_path), mounts.read())
    right = next(mount for mount in mounts.read() if mount.device == here)
    hidden = right._replace(number=-5, point=str(tmp_path))
    opened = mounts.open_([hidden, right])
    assert opened is not None
    assert opened[0] == right
    os.close(opened[1])
    assert mounts.open_([hidden]) is None
    with pytest.raises(FileNotFoundError):
        mounts.open_([right._replace(point=str(tmp_path / 'none'))])


# What stands on what


def test_an_image_is_frozen_before_what_holds_it():
    tree = {'7:0': ['252:2'], '254:0': ['7:0', '8:1'], '252:2': ['252:0']}
    found = stack.Stack(lambda device: tree.get(device, []))
    assert found.below('254:0') == {'7:0', '8:1', '252:2', '252:0'}
    assert found.order(['252:1', '252:2', '7:0', '254:0']) == [
        '254:0',
        '7:0',
        '252:2',
        '252:1',
    ]
    assert found.above(['252:2'], ['252:1', '7:0', '254:0', '8:1']) == ['7:0', '254:0']


def test_what_lies_on_itself_ends():
    found = stack.Stack(lambda device: {'a': ['b'], 'b': ['a']}[device])
    assert sorted(found.order(['a', 'b'])) == ['a', 'b']


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda e: e[0] > e[1]),
        max_size=20,
    ),
    st.permutations(list(range(10))),
)
def test_each_comes_before_what_it_lies_on(edges, devices):
    def lower(device):
        return [str(below) for above, below in edges if str(above) == device]

    found = stack.Stack(lower)
    order = found.order(map(str, devices))
    for one, other in itertools.combinations(order, 2):
        assert one not in found.below(other)


@pytest.fixture
def sysfs(tmp_path):
    """``sysfs(path=content, ...)``: a tree as the kernel has it."""

    def make(files, links):
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f'{text}\n')
        for path, target in links.items():
            link = tmp_path / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(tmp_path / target)
        return str(tmp_path)

    return make


def test_the_kernel_tells_what_lies_on_what(sysfs, tmp_path):
    image = tmp_path / 'image'
    image.touch()
    holds = mounts.of_path(str(image), mounts.read())
    root = sysfs(
        {
            'devices/vdc/dev': '252:32',
            'devices/vdc/vdc1/dev': '252:33',
            'devices/vdc/vdc1/partition': '1',
            'devices/dm-0/slaves/vdc1/dev': '252:33',
            'devices/dm-0/slaves/loop0/dev': '7:0',
            'devices/loop0/loop/backing_file': image,
            'devices/loop1/loop/backing_file': f'{image} (deleted)',
            'class/block/vdb/dev': '252:16',
            'class/block/vdd/dev': '252:48',
            'fs/btrfs/0-1/devices/vdb/size': '1',
            'fs/btrfs/0-1/devices/vdd/size': '1',
        },
        {
            'dev/block/252:33': 'devices/vdc/vdc1',
            'dev/block/9:127': 'devices/dm-0',
            'dev/block/7:0': 'devices/loop0',
            'dev/block/7:1': 'devices/loop1',
        },
    )
    found = [*mounts.read(), *mounts.parse(MOUNTINFO)]
    system = stack.of_system(found, root)
    assert system.below('252:33') == {'252:32'}
    assert {'7:0', '252:33', '252:32', holds} <= system.below('9:127')
    assert system.below('7:1') == set()
    assert system.below('0:33') == {'252:16', '252:48'}
    assert system.below('9:9') == set()


def test_an_overlay_lies_on_its_folders(tmp_path):
    found = mounts.read()
    upper = tmp_path / 'upper'
    upper.mkdir()
    overlay = mounts.Mount(-1, '0:99', '/', '/x', 'overlay', 'o', f'upperdir={upper}')
    here = mounts.of_path(str(upper), found)
    assert here in stack.of_system([*found, overlay]).below('0:99')


# Freeze and thaw


class Kernel(calls.Calls):
    """Keeps what is frozen; may fail, or wait.

    :ivar errors: what the freeze of a descriptor raises.
    :ivar waits: the descriptors that wait for others to thaw.
    """

    def __init__(self):
        self.frozen, self.log = {}, []
        self.errors, self.stuck = {}, set()
        self.waits = {}

    def freeze(self, fd):
        if fd in self.errors:
            raise OSError(self.errors[fd], os.strerror(self.errors[fd]))
        if fd in self.waits:
            begun, goes_on = self.waits[fd]
            begun.set()
            goes_on.wait(30)
        self.frozen[fd] = self.frozen.get(fd, 0) + 1
        self.log.append(f'+{fd}')

    def thaw(self, fd):
        if fd in self.stuck:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if not self.frozen.get(fd):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.frozen[fd] -= 1
        self.log.append(f'-{fd}')
        for _, goes_on in self.waits.values():
            goes_on.set()


@pytest.fixture
def kernel():
    return Kernel()


def freezer(kernel, *fds):
    targets = [freezing.Target(f'/{fd}', f'0:{fd}', fd) for fd in fds]
    return freezing.Freezer(targets, kernel)


def test_it_thaws_in_the_reverse_order_and_fully(kernel):
    made = freezer(kernel, 1, 2, 3)
    made.freeze()
    assert made.done
    kernel.frozen[2] += 1
    assert made.thaw() == 3
    assert kernel.log == ['+1', '+2', '+3', '-3', '-2', '-2', '-1']
    assert made.thaw() == 0


@pytest.mark.parametrize('code', [errno.EBUSY, errno.EOPNOTSUPP, errno.ENOTTY])
def test_what_cannot_be_frozen_is_skipped(kernel, code):
    kernel.errors[2] = code
    made = freezer(kernel, 1, 2, 3)
    made.freeze()
    assert [target.fd for target in made.frozen] == [1, 3]
    assert made.skipped == [('/2', os.strerror(code))]
    assert made.error is None


@pytest.mark.parametrize('code', [errno.EIO, errno.EPERM, errno.ENOMEM])
def test_any_other_error_is_the_end(kernel, code):
    kernel.errors[2] = code
    made = freezer(kernel, 1, 2, 3)
    made.freeze()
    assert made.error is not None
    assert made.error[0] == '/2'
    assert made.thaw() == 1
    assert not any(kernel.frozen.values())


def test_a_freeze_that_waits_is_let_go_and_thawed(kernel):
    begun, goes_on = threading.Event(), threading.Event()
    kernel.waits[2] = begun, goes_on
    made = freezer(kernel, 1, 2, 3)
    thread = threading.Thread(target=made.freeze)
    thread.start()
    assert begun.wait(30)
    assert made.thaw() == 1  # upon which the second goes on
    thread.join(30)
    assert made.done
    assert not any(kernel.frozen.values())
    assert made.frozen == [made.frozen[0]]
    assert '+3' not in kernel.log


def test_one_that_does_not_thaw_keeps_no_other_frozen(kernel):
    made = freezer(kernel, 1, 2, 3)
    made.freeze()
    kernel.stuck.add(2)
    assert made.thaw() == 2
    assert made.faults == ['/2 cannot be thawed: Input/output error']


# Trim


def test_a_disk_that_cannot_is_said(monkeypatch):
    class Trims(calls.Calls):
        def trim(self, fd, minimum):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    here = next(mount for mount in mounts.read() if mount.point == '/')
    here = here._replace(device='252:1', options='rw')
    monkeypatch.setattr(mounts, 'read', lambda: [here])
    [found] = trimming.trim(extension.Context(), 0, None, kernel=Trims())
    assert found == {
        'path': '/',
        'error': 'trimming is not supported: Operation not supported',
    }
    assert trimming.trim(extension.Context(), 0, ['/other'], kernel=Trims()) == []


# Hooks


def test_of_what_a_hook_writes_little_is_kept(tmp_path):
    path = tmp_path / 'hook'
    path.write_text('#!/bin/sh\nhead -c 300000 /dev/zero | tr "\\0" x\nexit 1\n')
    path.chmod(0o755)
    fault = hooks.run(str(path), 'freeze', 30)
    assert fault.count('x') - str(path).count('x') <= hooks.OUTPUT_MAX + 2


def test_a_hook_that_leaves_somebody_behind_is_not_waited_for(tmp_path):
    path = tmp_path / 'hook'
    path.write_text(f'#!/bin/sh\nsleep 600 & echo $! >{tmp_path}/pid; echo done\n')
    path.chmod(0o755)
    assert hooks.run(str(path), 'freeze', 30) == ''
    os.kill(int((tmp_path / 'pid').read_text()), 9)


def test_a_hook_that_cannot_be_run_is_said(tmp_path):
    path = tmp_path / 'hook'
    path.write_text('#!/no/such/shell\n')
    path.chmod(0o755)
    assert 'cannot be run: No such file' in hooks.run(str(path), 'freeze', 30)
