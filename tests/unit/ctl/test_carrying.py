# SPDX-License-Identifier: Apache-2.0
"""Files carried between here and a guest whose extension is in this process."""

import hashlib
import os
import random
import stat
import threading

import pytest
from guestagent_file import extension as file_extension

from guestagent import errors, extension, rpc
from guestagent.ctl import carrying, flow, trees

SIZE = 5 * carrying.PART + 7


class Guest:
    """``file`` without a bus.

    :ivar parts: the numbers of those that were carried.

    ``before[method, number]`` is called once, before that part is carried.
    """

    instance = 'vm-1'

    def __init__(self, made):
        self.extension = made
        self.parts = set()
        self.answers = {}
        self.before = {}
        self._lock = threading.Lock()

    def call(self, method, /, *, more=0, **arguments):
        number = arguments.get('offset', 0) // carrying.PART
        with self._lock:
            if 'offset' in arguments:
                self.parts.add(number)
            before = self.before.pop((method, number), None)
        if method in self.answers:
            return self.answers[method](**arguments)
        if before is not None:
            before()
        return getattr(self.extension, method)(extension.Context('me'), **arguments)


class Broken(Exception):
    """Somebody pressed Ctrl-C."""


def break_off():
    raise Broken


@pytest.fixture
def guest():
    from guestagent import testing

    with testing.started(file_extension.File) as made:
        yield Guest(made)


@pytest.fixture
def moved():
    return []


@pytest.fixture
def carrier(guest, moved):
    with flow.Flow() as threads:
        yield carrying.Carrier(guest, threads, moved.append)


@pytest.fixture
def big(tmp_path):
    path = tmp_path / 'big'
    path.write_bytes(random.Random(1).randbytes(SIZE))
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 5))
    return path


def same(one, other):
    assert one.read_bytes() == other.read_bytes()
    for name in ('st_mode', 'st_mtime_ns'):
        assert getattr(one.stat(), name) == getattr(other.stat(), name)


def parts_in(folder):
    return [name for name in os.listdir(folder) if name.startswith('.guest')]


@pytest.mark.parametrize('size', [0, 1, SIZE])
def test_there_and_back(carrier, moved, tmp_path, size):
    source = tmp_path / 'source'
    source.write_bytes(random.Random(size).randbytes(size))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()

    assert carrier.push(str(source), f'{tmp_path}/there') == digest
    assert carrier.pull(f'{tmp_path}/there', str(tmp_path / 'back')) == digest
    same(source, tmp_path / 'there')
    same(source, tmp_path / 'back')
    assert sum(moved) == 2 * size
    assert not parts_in(tmp_path)


def test_a_pull_goes_on_where_it_was(carrier, guest, big, tmp_path, moved):
    target = tmp_path / 'here' / 'big'
    target.parent.mkdir()
    guest.before['pull_part', 4] = break_off
    with pytest.raises(Broken):
        carrier.pull(str(big), str(target))
    (kept,) = parts_in(target.parent)
    assert (target.parent / kept).stat().st_size == 4 * carrying.PART
    assert not target.exists()

    guest.parts.clear()
    moved.clear()
    carrier.pull(str(big), str(target))
    assert guest.parts == {4, 5}
    assert sum(moved) == SIZE
    same(big, target)
    assert not parts_in(target.parent)


def test_what_has_come_of_another_version_is_forgotten(carrier, guest, big, tmp_path):
    guest.before['pull_part', 2] = break_off
    with pytest.raises(Broken):
        carrier.pull(str(big), str(tmp_path / 'copy'))
    big.write_bytes(random.Random(2).randbytes(SIZE))
    guest.parts.clear()
    carrier.pull(str(big), str(tmp_path / 'copy'))
    assert guest.parts == {0, 1, 2, 3, 4, 5}
    same(big, tmp_path / 'copy')
    assert not parts_in(tmp_path)


def test_a_push_goes_on_where_it_was(carrier, guest, big, tmp_path, moved):
    guest.before['push_part', 4] = break_off
    with pytest.raises(Broken):
        carrier.push(str(big), f'{tmp_path}/there')
    guest.parts.clear()
    moved.clear()
    carrier.push(str(big), f'{tmp_path}/there')
    # The last one was on its way already, and may have arrived.
    assert guest.parts <= {4, 5}
    assert sum(moved) == SIZE
    same(big, tmp_path / 'there')


@pytest.mark.parametrize('number', [0, 2, 5])
def test_an_agent_that_starts_anew_ends_neither(
    carrier, guest, big, tmp_path, moved, number
):
    lose = guest.extension.table.clear
    guest.before['pull_part', number] = guest.before['push_part', number] = lose
    carrier.pull(str(big), str(tmp_path / 'copy'))
    carrier.push(str(big), f'{tmp_path}/there')
    same(big, tmp_path / 'copy')
    same(big, tmp_path / 'there')
    assert sum(moved) == 2 * SIZE
    assert not guest.extension.busy()


def test_a_file_that_changes_meanwhile(carrier, guest, big, tmp_path):
    guest.before['pull_end', 0] = lambda: os.utime(big)
    with pytest.raises(errors.GuestError, match='was changed'):
        carrier.pull(str(big), str(tmp_path / 'copy'))
    guest.before['push_part', 5] = lambda: os.utime(big)
    with pytest.raises(errors.GuestError, match='was changed'):
        carrier.push(str(big), f'{tmp_path}/there')
    assert not (tmp_path / 'copy').exists()
    assert not (tmp_path / 'there').exists()
    assert not guest.extension.busy()


def test_what_has_come_wrong_is_not_kept(carrier, guest, big, tmp_path):
    guest.answers['pull_end'] = lambda pull: {'size': SIZE, 'sha256': '0' * 64}
    with pytest.raises(errors.GuestError, match='mistakes'):
        carrier.pull(str(big), str(tmp_path / 'copy'))
    assert sorted(os.listdir(tmp_path)) == ['big']


def test_a_push_that_the_guest_does_not_take(carrier, guest, big, tmp_path):
    with pytest.raises(errors.InvalidArgument, match=r'No such file or directory$'):
        carrier.push(str(big), f'{tmp_path}/none/there')
    guest.answers['push_part'] = lambda **_arguments: None  # it never arrives
    with pytest.raises(errors.InvalidArgument, match='missing'):
        carrier.push(str(big), f'{tmp_path}/there')
    assert not guest.extension.busy()


def test_errors_here(carrier, big, tmp_path):
    with pytest.raises(flow.LocalError, match=r'none: No such file or directory$'):
        carrier.push(str(tmp_path / 'none'), '/x')
    with pytest.raises(flow.LocalError, match=r'No such file or directory$'):
        carrier.pull(str(big), str(tmp_path / 'none' / 'copy'))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / 'tree'
    (root / 'a' / 'empty').mkdir(parents=True)
    (root / 'a' / os.fsdecode(b'\xff "\n')).write_text('strange')
    (root / 'a' / 'run').write_text('x')
    (root / 'a' / 'run').chmod(0o755)
    (root / 'big').write_bytes(random.Random(1).randbytes(SIZE))
    (root / 'link').symlink_to('/nowhere at all')
    (root / 'a').chmod(0o750)
    os.utime(root / 'a', ns=(10**18, 10**18))
    return root


def everything(root):
    """What is below a folder: modes, times, contents."""
    found = {}
    for path in sorted([root, *root.rglob('*')]):
        about = path.lstat()
        what = os.readlink(path) if path.is_symlink() else about.st_mtime_ns
        content = path.read_bytes() if path.is_file() else b''
        name = os.fsencode(path.relative_to(root))
        found[name] = (stat.filemode(about.st_mode), what, content)
    return found


def test_folders_there_and_back(carrier, tree, tmp_path):
    skipped = []
    carried = trees.Trees(carrier, skipped.append)
    carried.push(str(tree), f'{tmp_path}/there')
    carried.pull(f'{tmp_path}/there', str(tmp_path / 'back'))
    assert everything(tmp_path / 'there') == everything(tree)
    assert everything(tmp_path / 'back') == everything(tree)
    assert (carried.files, skipped) == (6, [])

    os.mkfifo(tree / 'pipe')
    (tmp_path / 'folder').mkdir()
    for _ in range(2):  # what is there already does no harm
        carried.push(f'{tree}/', f'{tmp_path}/folder')
    carried.pull(f'{tree}/', str(tmp_path / 'folder' / 'a'))
    assert len(skipped) == 3
    wanted = everything(tree)
    del wanted[b'pipe']
    assert everything(tmp_path / 'folder' / 'tree') == wanted
    assert everything(tmp_path / 'folder' / 'a') == wanted


def entry(name, kind='file', **more):
    about = {'name': name, 'type': kind, 'size': 0, 'permissions': 0o777}
    return {**about, 'modified': 0, **more}


@pytest.mark.parametrize(
    'entries',
    [
        [entry('../evil')],
        [entry('..', 'folder')],
        [entry('/evil')],
        [entry('.')],
        [entry('x', 'link', target='..'), entry('x', 'folder')],
    ],
)
def test_a_guest_cannot_lead_out_of_the_folder(carrier, guest, tmp_path, entries):
    guest.answers['stat'] = lambda path: entry('', 'folder')
    guest.answers['list'] = lambda path, after: {'entries': entries, 'next': None}
    guest.answers['get'] = lambda **_arguments: {**entry(''), 'data': ''}
    with pytest.raises(errors.GuestError, match='cannot hold'):
        trees.Trees(carrier, print).pull('/x', str(tmp_path / 'here'))
    assert os.listdir(tmp_path) == ['here']


@pytest.mark.parametrize(
    'entries',
    [
        [entry('x', 'link', target='a\0b')],
        [entry('x', 'link', target=None)],
        [entry('\ud800')],
        [entry(7)],
        [entry('x', modified=2**100)],
        [entry('x', permissions='rwx')],
        [entry('x', size='large')],
        [{'name': 'x'}],
        ['x'],
        'x',
        None,
    ],
)
def test_a_guest_that_says_nonsense_is_an_error(carrier, guest, tmp_path, entries):
    guest.answers['stat'] = lambda path: entry('', 'folder')
    guest.answers['list'] = lambda path, after: {'entries': entries, 'next': None}
    found = entries[0] if entries and isinstance(entries[0], dict) else {}
    guest.answers['get'] = lambda **_arguments: {**found, 'data': ''}
    with pytest.raises(errors.GuestAgentError):
        trees.Trees(carrier, print).pull('/x', str(tmp_path / 'here'))
    assert not parts_in(tmp_path / 'here')


def test_no_folder_is_entered_through_a_link_that_is_here(carrier, tree, tmp_path):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here' / 'a').symlink_to('/tmp')
    carried = trees.Trees(carrier, print)
    with pytest.raises(flow.LocalError, match=r'File exists$'):
        carried._pull_folder(str(tree), entry('', 'folder'), str(tmp_path / 'here'))


class Client:
    """A bus on which so many calls fail in this way."""

    def __init__(self, error=None, failures=0):
        self.error = error
        self.failures = failures
        self.ids = set()

    def call(self, instance, command, arguments, *, command_id, **_times):
        self.ids.add(command_id)
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return instance, command, arguments


def test_a_bus_that_is_away_is_waited_for_with_the_same_id():
    client = Client(rpc.BusError('away'), 2)
    found = flow.Guest(client, 'vm-1').call('stat', path='/')
    assert found == ('vm-1', 'file.stat', {'path': '/'})
    assert len(client.ids) == 1
    client.failures = 10**6
    with pytest.raises(rpc.BusError):
        flow.Guest(client, 'vm-1', timeout=0.01).call('stat', path='/')


def test_a_guest_that_was_there_is_waited_for():
    client = Client()
    guest = flow.Guest(client, 'vm-1')
    guest.call('stat', path='/')
    client.error, client.failures = rpc.NoSuchGuest('not yet back'), 2
    guest.call('stat', path='/')
    client.failures = 1
    with pytest.raises(rpc.NoSuchGuest):
        flow.Guest(client, 'vm-1').call('stat', path='/')


def test_jobs_end_in_their_order():
    done = threading.Event()

    def first():
        assert done.wait(30)
        return 1

    def second():
        done.set()
        return 2

    with flow.Flow() as threads:
        assert list(threads.run([first, second, lambda: 3])) == [1, 2, 3]
