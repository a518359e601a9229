# SPDX-License-Identifier: Apache-2.0
"""What is out of reach stays so, however a path is written and whoever moves things."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

import pytest
from guestagent_file import extension as file_extension
from guestagent_file import guard, jail, openat2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestagent import errors, extension

INSIDE, OUTSIDE = 'inside', 'outside: nobody may read this'

#: How the folders on the way are opened.
WAYS = [
    pytest.param(
        True,
        id='openat2',
        marks=pytest.mark.skipif(
            not openat2.is_available(), reason='the kernel has no openat2'
        ),
    ),
    pytest.param(False, id='walk'),
]


@pytest.fixture(params=WAYS)
def files(request, make, tmp_path):
    """``files(allowed=[...], ...)``: the extension, by each way."""

    def made(**options):
        own = make(file_extension.File, 'file', **options)
        own.jail._kernel = request.param
        return own

    return made


@pytest.fixture
def root(tmp_path):
    for name, text in (('jail', INSIDE), ('outside', OUTSIDE)):
        (tmp_path / name / 'd').mkdir(parents=True)
        (tmp_path / name / 'd' / 'f').write_text(text)
    return tmp_path


@pytest.fixture
def jailed(files, root):
    return files(allowed_paths=[str(root / 'jail')])


def text_of(own, path):
    import base64

    return base64.b64decode(own.get(extension.Context(), str(path))['data']).decode()


def test_what_is_within_is_reached(jailed, root):
    inside = root / 'jail'
    (inside / 'relative').symlink_to('d/f')
    (inside / 'absolute').symlink_to(inside / 'd')
    (inside / 'd' / 'up').symlink_to('../d/./f')
    (inside / 'chain').symlink_to('absolute/up')

    for path in (
        'd/f',
        'd/../d//f',
        './d/f',
        'relative',
        'absolute/f',
        'd/up',
        'chain',
    ):
        assert text_of(jailed, f'{inside}/{path}') == INSIDE
    assert jailed.stat(extension.Context(), str(inside))['type'] == 'folder'


def test_what_is_outside_is_refused(jailed, root):
    inside = root / 'jail'
    (inside / 'file').symlink_to(root / 'outside/d/f')
    (inside / 'folder').symlink_to('../outside')
    (inside / 'top').symlink_to('/')
    (inside / 'back').symlink_to('../../' + root.name + '/jail/../outside/d/f')

    for path in (
        f'{root}/outside/d/f',
        f'{inside}/../outside/d/f',
        f'{inside}/file',
        f'{inside}/folder/d/f',
        f'{inside}/top/{root}/outside/d/f',
        f'{inside}/back',
        f'{root}',
        '/',
        '/proc/self/root',
    ):
        with pytest.raises(errors.Refused, match=r': Permission denied$'):
            jailed.get(extension.Context(), path)


def test_nothing_is_made_outside_through_a_link(jailed, root):
    (root / 'jail' / 'new').symlink_to(root / 'outside' / 'new')

    for call in (
        lambda: jailed.put(extension.Context(), f'{root}/jail/new', ''),
        lambda: jailed.open(extension.Context(), f'{root}/jail/new', 'w'),
        lambda: jailed.mkdir(extension.Context(), f'{root}/jail/new'),
        lambda: jailed.rename(
            extension.Context(), f'{root}/jail/d/f', f'{root}/outside/f'
        ),
    ):
        with pytest.raises(errors.Refused):
            call()
    assert os.listdir(root / 'outside') == ['d']


def test_two_folders_may_be_linked_to_each_other(files, root):
    own = files(allowed_paths=[str(root / 'jail'), str(root / 'outside')])
    (root / 'jail' / 'other').symlink_to(root / 'outside')

    assert text_of(own, root / 'jail/other/d/f') == OUTSIDE


def test_links_of_proc_lead_nowhere(files, tmp_path):
    own = files()
    (tmp_path / 'f').write_text(INSIDE)
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        for path in (f'/proc/self/root/{tmp_path}/f', f'/proc/self/fd/{held}/f'):
            with pytest.raises(errors.InvalidArgument, match=r'symbolic links$'):
                own.get(extension.Context(), path)
    finally:
        os.close(held)


def test_links_without_end(jailed, root):
    (root / 'jail' / 'loop').symlink_to('loop')
    (root / 'jail' / 'ring').symlink_to('ring/x')

    for path in ('loop', 'ring', 'loop/x'):
        with pytest.raises(errors.InvalidArgument, match=r'symbolic links$'):
            jailed.get(extension.Context(), f'{root}/jail/{path}')


@pytest.mark.parametrize('path', ['', 'd/f', '/a\0b', '/\ud800'])
def test_what_is_no_path(jailed, path):
    with pytest.raises(errors.InvalidArgument, match=r': Invalid argument$'):
        jailed.get(extension.Context(), path)


@pytest.mark.parametrize('path', ['srv', '/srv/../etc'])
def test_what_is_no_folder_to_allow(make, path):
    with pytest.raises(errors.ConfigError, match='allowed_paths'):
        make(file_extension.File, 'file', allowed_paths=[path])


@pytest.fixture
def guarded(files, root, host, monkeypatch):
    """The agent's own are jail/state and jail/keys; jail/no is denied."""
    for name in ('state', 'no'):
        (root / 'jail' / name).mkdir()
        (root / 'jail' / name / 'secret').write_text(OUTSIDE)
    (root / 'jail' / 'keys').write_text(OUTSIDE)
    own = [str(root / 'jail' / name) for name in ('state', 'keys', 'policy')]
    monkeypatch.setattr(host, 'own_paths', lambda: own, raising=False)
    return files(denied_paths=[str(root / 'jail' / 'no')])


def test_what_is_the_agents_own_cannot_be_reached(guarded, root):
    inside, context = root / 'jail', extension.Context()
    (inside / 'link').symlink_to('state')
    (inside / 'way').symlink_to('keys')
    os.link(inside / 'state' / 'secret', inside / 'hard')

    for path in (
        'state/secret', 'keys', 'no/secret', 'no', 'link/secret', 'way', 'hard',
        'd/../state/secret', 'policy',
    ):  # fmt: skip
        with pytest.raises(errors.Refused, match='out of reach'):
            guarded.get(context, f'{inside}/{path}')
        with pytest.raises(errors.Refused):
            guarded.put(context, f'{inside}/{path}', '')
    assert (inside / 'state' / 'secret').read_text() == OUTSIDE


def test_what_holds_the_agents_own_stays_where_it_is(guarded, root):
    inside, context = root / 'jail', extension.Context()

    for call in (
        lambda: guarded.rename(context, f'{inside}', f'{root}/other'),
        lambda: guarded.rename(context, f'{inside}/d', f'{inside}/state'),
        lambda: guarded.remove(context, f'{inside}', recursive=True),
        lambda: guarded.remove(context, str(root), recursive=True),
        lambda: guarded.remove(context, f'{inside}/keys'),
        lambda: guarded.symlink(context, f'{inside}/policy', '/tmp/mine'),
    ):
        with pytest.raises(errors.Refused):
            call()
    names = {entry['name'] for entry in guarded.list(context, str(inside))['entries']}
    assert names == {'d'}
    assert (inside / 'keys').exists()


@pytest.fixture
def bound(root):
    """The state's folder once more, at another place."""
    (root / 'jail' / 'bound').mkdir()
    command = ['mount', '--bind', root / 'jail/state', root / 'jail/bound']
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip('nothing can be mounted here')
    yield root / 'jail' / 'bound'
    subprocess.run(['umount', root / 'jail/bound'], check=True)


def test_a_bind_mount_is_no_way_to_the_agents_own(guarded, bound):
    with pytest.raises(errors.Refused):
        guarded.get(extension.Context(), f'{bound}/secret')


def test_the_guard_refuses_what_is_no_full_path():
    with pytest.raises(ValueError, match='denied_paths'):
        jail.Jail(['/'], guard.Guard(list, ['secret']))


def outcome(own, path):
    try:
        return text_of(own, path)
    except errors.GuestAgentError as error:
        return type(error), str(error).rpartition(': ')[2]


NAMES = ['d', 'f', 'e', '..', '.', '', 'up', 'out', 'abs', 'evil', 'loop', 'jail', 'no']


@pytest.mark.skipif(not openat2.is_available(), reason='the kernel has no openat2')
@given(st.lists(st.sampled_from(NAMES), max_size=7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_ways_find_the_same(make, root, names):
    inside = root / 'jail'
    if not (inside / 'up').is_symlink():
        (inside / 'd' / 'e').mkdir()
        (inside / 'd' / 'e' / 'f').write_text('deep')
        links = {'up': 'd/e/..', 'abs': inside / 'd', 'loop': 'loop/d'}
        for name, target in {**links, 'out': '..', 'evil': '../outside/d'}.items():
            (inside / name).symlink_to(target)
        (inside / 'd' / 'out').symlink_to('../../jail/d/e')
        (inside / 'd' / 'up').symlink_to('../d')
    ways = []
    for kernel in (True, False):
        own = make(file_extension.File, 'file', allowed_paths=[str(inside)])
        own.jail._kernel = kernel
        ways.append(outcome(own, '/'.join([str(inside), *names])))
    assert ways[0] == ways[1]
    assert ways[0] in (INSIDE, 'deep') or isinstance(ways[0], tuple)


#: Swaps folders, files and links below its argument until it is killed.
ATTACKER = """
import os, sys
os.chdir(sys.argv[1])
os.symlink('../outside/d', 'evil')
os.symlink('../outside/d/f', 'evilfile')
os.makedirs('a/b/d')
open('a/b/d/f', 'w').write('inside')
sys.stdout.write('ready'); sys.stdout.flush()
def swap(one, other):
    for _ in range(3):
        try:
            os.rename(one, 'swap')
            os.rename(other, one)
            os.rename('swap', other)
            return
        except OSError:
            pass
while True:
    swap('d', 'evil')
    swap('d', 'evil')
    try:
        os.rename('evilfile', 'd/f')
        os.symlink('../outside/d/f', 'evilfile')
        open('new', 'w').write('inside')
        os.rename('new', 'd/f')
    except OSError:
        pass
    for old, new in (('a/b', 'b'), ('b', 'a/b')):
        try:
            os.rename(old, new)
        except OSError:
            pass
"""


@contextlib.contextmanager
def attacked(folder):
    attacker = subprocess.Popen(
        [sys.executable, '-c', ATTACKER, str(folder)], stdout=subprocess.PIPE
    )
    try:
        assert attacker.stdout.read(5) == b'ready'
        yield
        assert attacker.poll() is None, 'the attacker has given up'
    finally:
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()


def everything(folder):
    """What is below a folder: names, modes and contents."""
    return {
        str(path): (path.lstat().st_mode, path.is_file() and path.read_text())
        for path in [folder, *folder.rglob('*')]
    }


def test_whoever_swaps_links_gets_nothing_out_and_nothing_in(jailed, root):
    inside, outside = root / 'jail', root / 'outside'
    before = everything(outside)
    context, naive, reached = extension.Context(), 0, 0

    def read():
        nonlocal reached
        for path in ('d/f', 'a/b/../../d/f', 'a/b/../../../outside/d/f'):
            with contextlib.suppress(errors.GuestAgentError):
                assert text_of(jailed, inside / path) != OUTSIDE
                reached += 1

    def change():
        data = 'aW5zaWRl'
        for call in (
            lambda: jailed.put(context, f'{inside}/d/f', data),
            lambda: jailed.put(context, f'{inside}/d/g', data),
            lambda: jailed.chmod(context, f'{inside}/d/f', 0o600),
            lambda: jailed.truncate(context, 3, path=f'{inside}/d/f'),
            lambda: jailed.mkdir(context, f'{inside}/d/new'),
            lambda: jailed.remove(context, f'{inside}/d/new'),
            lambda: jailed.rename(context, f'{inside}/d/g', f'{inside}/d/h'),
            lambda: jailed.remove(context, f'{inside}/d/h', recursive=True),
        ):
            with contextlib.suppress(errors.GuestAgentError):
                call()

    until = time.monotonic() + 1
    with attacked(inside):
        while time.monotonic() < until or not (naive and reached):
            assert time.monotonic() < until + 60, 'the attack does not work'
            read()
            change()
            with contextlib.suppress(OSError):
                naive += pathlib.Path(f'{inside}/d/f').read_text() == OUTSIDE

    assert everything(outside) == before
