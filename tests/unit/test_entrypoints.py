# SPDX-License-Identifier: Apache-2.0
"""Entry points are found as importlib.metadata finds them."""

import importlib.metadata as metadata

import pytest

from guestagent import entrypoints

GROUP = 'guestagent.tests'


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """``installed(text)`` makes a package on Python's path with these entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text, name='sample'):
        folder = tmp_path / f'{name}-1.0.dist-info'
        folder.mkdir()
        (folder / 'METADATA').write_text(f'Name: {name}\nVersion: 1.0\n')
        (folder / 'entry_points.txt').write_text(text)

    return make


@pytest.mark.parametrize(
    'group',
    ['guestagent.extensions', 'guestagent.datastore.engines', 'console_scripts'],
)
def test_all_that_are_installed(group):
    found = metadata.entry_points(group=group)
    assert found
    for entry in found:
        values = {one.value for one in found.select(name=entry.name)}
        assert entrypoints.find(group, entry.name) in values


@pytest.mark.parametrize(
    'line',
    [
        'one = json.decoder:JSONDecoder.decode',
        'one=json.decoder:JSONDecoder.decode',
        '  one  =  json.decoder:JSONDecoder.decode [extra]',
    ],
)
def test_it_is_loaded(installed, line):
    import json

    installed(f'[other]\none = wrong:It\n\n[{GROUP}]\n# one = wrong:It\n{line}\n')
    assert entrypoints.load(GROUP, 'one') is json.JSONDecoder.decode


def test_what_nobody_has(installed):
    installed(f'[{GROUP}]\none = json:loads\n\n[other]\ntwo = json:loads\n')
    assert entrypoints.load(GROUP, 'two') is None
    assert entrypoints.load('guestagent.nothing', 'one') is None
    assert entrypoints.names(GROUP) == ['one']


def test_what_is_elsewhere_is_left_to_importlib(monkeypatch):
    entry = metadata.EntryPoint('one', 'json:loads', GROUP)
    monkeypatch.setattr(
        metadata,
        'entry_points',
        lambda **given: metadata.EntryPoints([entry]).select(**given),
    )
    assert entrypoints.find(GROUP, 'one') == 'json:loads'
