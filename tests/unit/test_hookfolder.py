# SPDX-License-Identifier: Apache-2.0
"""Which programs of a folder are run as hooks."""

import os

import pytest

from guestagent import hookfolder


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'hooks'
    made.mkdir()
    made.chmod(0o755)
    return made


def add(folder, name, mode=0o755):
    path = folder / name
    path.write_text('#!/bin/sh\n')
    path.chmod(mode)
    return str(path)


def test_programs_are_found_by_their_names(folder, tmp_path):
    second, first = add(folder, '20-b'), add(folder, '10-a')
    add(folder, '15-no-program', 0o644)
    add(folder, '.hidden')
    (folder / '30-folder').mkdir()
    (folder / '40-nothing').symlink_to(tmp_path / 'missing')
    (folder / '50-link').symlink_to(first)

    assert hookfolder.find(str(folder)) == ([first, second, f'{folder}/50-link'], [])


def test_where_there_is_no_folder_there_are_none(folder):
    assert hookfolder.find(f'{folder}/missing') == ([], [])
    assert hookfolder.find(add(folder, 'a-file')) == ([], [])


@pytest.mark.parametrize('mode', [0o775, 0o757, 0o4777])
def test_what_others_could_write_is_refused_by_name(folder, mode):
    good, bad = add(folder, '10-good'), add(folder, '20-bad', mode)
    (folder / '30-link').symlink_to(bad)

    assert hookfolder.find(str(folder)) == (
        [good],
        [
            f'hook {path} could be changed by others: it is not run'
            for path in (bad, f'{folder}/30-link')
        ],
    )


def test_what_belongs_to_another_user_is_refused(folder, monkeypatch):
    path = add(folder, '10-theirs')
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, 'geteuid', lambda: other)

    found = hookfolder.find(str(folder))

    assert found.programs == []
    assert 'could be changed by others' in found.refused[0]


@pytest.mark.parametrize('mode', [0o775, 0o757, 0o1777])
def test_a_folder_that_others_could_fill_is_refused_if_there_is_anything(folder, mode):
    folder.chmod(mode)
    assert hookfolder.find(str(folder)) == ([], [])

    add(folder, '10-good')
    assert hookfolder.find(str(folder)) == (
        [],
        [f'hooks: {folder} could be changed by others: none is run'],
    )
