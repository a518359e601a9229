# SPDX-License-Identifier: Apache-2.0
"""Files and folders by their paths."""

import hashlib
import os
import pathlib
import stat
import subprocess
import sys

import guestagent_file
import pytest
from guestagent_file import extension as file_extension
from guestagent_file import tree

import guestagent
from guestagent import errors, extension, testing

CONTEXT = extension.Context('me')


@pytest.fixture
def files(make):
    return make(file_extension.File, 'file', list_max=3)


def test_stat(files, tmp_path):
    (tmp_path / 'f').write_text('text')
    (tmp_path / 'link').symlink_to('f')
    found = files.stat(CONTEXT, f'{tmp_path}/link')
    assert (found['type'], found['size']) == ('file', 4)
    assert found['modified'] == (tmp_path / 'f').stat().st_mtime_ns
    assert files.stat(CONTEXT, f'{tmp_path}/link', follow=False)['type'] == 'link'
    with pytest.raises(
        errors.InvalidArgument, match=r"look at '.*/no': No such file or directory$"
    ):
        files.stat(CONTEXT, f'{tmp_path}/no')


def test_list_in_pages(files, tmp_path):
    for name in 'edcba':
        (tmp_path / name).write_text('')
    (tmp_path / 'b2').symlink_to('nowhere')

    first = files.list(CONTEXT, str(tmp_path))
    second = files.list(CONTEXT, str(tmp_path), after=first['next'])
    assert [e['name'] for e in first['entries']] == ['a', 'b', 'b2']
    assert first['entries'][2]['target'] == 'nowhere'
    assert [e['name'] for e in second['entries']] == ['c', 'd', 'e']
    assert second['next'] is None
    assert len(files.list(CONTEXT, str(tmp_path), limit=1)['entries']) == 1
    with pytest.raises(errors.InvalidArgument, match=r'Not a directory$'):
        files.list(CONTEXT, f'{tmp_path}/a')


def test_checksum(files, tmp_path):
    (tmp_path / 'f').write_bytes(b'0123456789')
    path = f'{tmp_path}/f'
    for algorithm in ('sha256', 'md5'):
        assert files.checksum(CONTEXT, path, algorithm) == {
            'checksum': hashlib.new(algorithm, b'0123456789').hexdigest(),
            'algorithm': algorithm,
            'count': 10,
        }
    part = files.checksum(CONTEXT, path, offset=2, count=3)
    assert part['checksum'] == hashlib.sha256(b'234').hexdigest()
    with pytest.raises(errors.InvalidArgument, match='shake_128'):
        files.checksum(CONTEXT, path, 'shake_128')


def test_chmod_and_truncate(files, tmp_path):
    (tmp_path / 'f').write_text('text')
    (tmp_path / 'link').symlink_to('f')
    files.chmod(CONTEXT, f'{tmp_path}/link', 0o640)
    files.truncate(CONTEXT, 2, path=f'{tmp_path}/link')
    assert stat.S_IMODE((tmp_path / 'f').stat().st_mode) == 0o640
    assert (tmp_path / 'f').read_text() == 'te'
    with pytest.raises(errors.InvalidArgument, match='permissions'):
        files.chmod(CONTEXT, f'{tmp_path}/f', 0o10000)


def test_rename_and_remove(files, tmp_path):
    (tmp_path / 'a').write_text('a')
    (tmp_path / 'b').write_text('b')
    (tmp_path / 'link').symlink_to('a')
    files.rename(CONTEXT, f'{tmp_path}/link', f'{tmp_path}/renamed')
    files.rename(CONTEXT, f'{tmp_path}/a', f'{tmp_path}/b')
    assert (tmp_path / 'b').read_text() == 'a'
    assert files.remove(CONTEXT, f'{tmp_path}/renamed') == {'removed': 1}
    (tmp_path / 'd').mkdir()
    assert files.remove(CONTEXT, f'{tmp_path}/d/') == {'removed': 1}
    assert os.listdir(tmp_path) == ['b']


def test_remove_with_all_within(files, tmp_path):
    (tmp_path / 'kept').write_text('')
    deep = tmp_path / 'd/e/f'
    deep.mkdir(parents=True)
    (deep / 'up').symlink_to(tmp_path)
    (deep / 'kept').symlink_to(tmp_path / 'kept')
    with pytest.raises(errors.InvalidArgument, match=r'Directory not empty$'):
        files.remove(CONTEXT, f'{tmp_path}/d')
    removed = files.remove(CONTEXT, f'{tmp_path}/d', recursive=True)
    assert removed == {'removed': 5}
    assert os.listdir(tmp_path) == ['kept']


def test_remove_does_not_take_all_descriptors_of_the_agent(files, tmp_path):
    deep = tmp_path / 'd'
    deep.joinpath(*'a' * (tree.DEPTH_MAX + 1)).mkdir(parents=True)
    (tmp_path / 'd' / 'b').touch()
    with pytest.raises(errors.InvalidArgument, match='folders deep'):
        files.remove(CONTEXT, str(deep), recursive=True)

    deeper = deep.joinpath(*'a' * (tree.DEPTH_MAX - 1))
    files.remove(CONTEXT, str(deeper), recursive=True)
    files.remove(CONTEXT, str(deep), recursive=True)
    assert not deep.exists()


def test_remove_ends_when_nobody_waits_any_more(files, tmp_path):
    (tmp_path / 'd').mkdir()
    context = extension.Context()
    context.cancel(errors.Cancelled('enough'))
    with pytest.raises(errors.Cancelled):
        files.remove(context, f'{tmp_path}/d', recursive=True)
    assert (tmp_path / 'd').exists()


@pytest.mark.parametrize('path', ['', '/d/..', '/.'])
def test_what_cannot_be_removed(make, tmp_path, path):
    (tmp_path / 'd').mkdir()
    own = make(file_extension.File, 'file', allowed_paths=[str(tmp_path)])
    with pytest.raises(errors.GuestError, match=r'Device or resource busy$'):
        own.remove(CONTEXT, f'{tmp_path}{path}', recursive=True)
    assert (tmp_path / 'd').exists()


def test_mkdir(files, tmp_path):
    with pytest.raises(errors.InvalidArgument, match=r'No such file or directory$'):
        files.mkdir(CONTEXT, f'{tmp_path}/a/b')
    for _ in range(2):
        files.mkdir(CONTEXT, f'{tmp_path}/a/b/c/', parents=True, permissions=0o700)
    assert stat.S_IMODE((tmp_path / 'a/b/c').stat().st_mode) == 0o700
    with pytest.raises(errors.InvalidArgument, match=r'File exists$'):
        files.mkdir(CONTEXT, f'{tmp_path}/a')
    (tmp_path / 'f').write_text('')
    with pytest.raises(errors.InvalidArgument, match=r'Not a directory$'):
        files.mkdir(CONTEXT, f'{tmp_path}/f/x', parents=True)


def test_links(files, tmp_path):
    files.symlink(CONTEXT, f'{tmp_path}/link', 'some/where')
    assert files.readlink(CONTEXT, f'{tmp_path}/link') == {'target': 'some/where'}
    with pytest.raises(errors.InvalidArgument, match=r'Invalid argument$'):
        files.readlink(CONTEXT, str(tmp_path))


def test_all_commands_can_be_called_as_the_agent_does(tmp_path):
    path = str(tmp_path / 'f')
    with testing.started(file_extension.File) as made:
        testing.call(made, 'put', path=path, data='YQ==', user=os.getuid())
        handle = testing.call(made, 'open', path=path)['handle']
        assert testing.call(made, 'read', handle=handle)['data'] == 'YQ=='
        with pytest.raises(TypeError):
            testing.call(made, 'read', handle='1')


def test_an_idle_agent_pays_for_nothing_that_it_does_not_need():
    text = (
        'import sys, guestagent.extension\n'
        'before = set(sys.modules)\n'
        'import guestagent_file.extension\n'
        'print(*sorted(set(sys.modules) - before))'
    )
    places = [
        str(pathlib.Path(module.__file__).parents[1])
        for module in (guestagent, guestagent_file)
    ]
    # Without site: what makes editable installations work imports much by itself.
    found = subprocess.run(
        [sys.executable, '-S', '-c', text],
        env={'PYTHONPATH': ':'.join(places)},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {'base64', 'ctypes', 'hashlib', 'json', 'oslo_config', 'pwd', 'shutil'}
    assert not heavy & set(found.stdout.split())
    assert 'guestagent_file.jail' in found.stdout.split()
