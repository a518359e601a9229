# SPDX-License-Identifier: Apache-2.0
"""Files that another control plane writes for its own agent."""

import pathlib

import pytest
from oslo_config import cfg

from guestagent.conf import check, config, foreign

OPTIONS = [cfg.StrOpt('color'), cfg.IntOpt('size', default=1)]
LATER = [cfg.StrOpt('shape', default='round'), cfg.StrOpt('weight')]


def read(settings):
    """Speak the language of these files: ``colour`` is ``color``."""
    given = {setting.name: setting.values[-1] for setting in settings}
    return foreign.Reading(
        {(None, 'color'): given['colour']},
        {(None, 'size'): 7, ('later', 'shape'): 'square', ('later', 'weight'): 'much'},
        ['taste: nothing here has one'],
    )


class Entry:
    name = 'guest.conf'

    def load(self):
        return read


@pytest.fixture
def load(tmp_path, monkeypatch):
    """``load(own, guest)``: the texts of our own file and of theirs."""
    monkeypatch.setattr(
        foreign.importlib.metadata, 'entry_points', lambda group: [Entry()]
    )
    own = tmp_path / 'agent.conf'
    theirs = tmp_path / 'theirs'
    theirs.mkdir()

    def load(text: str, guest: str, name: str = 'guest.conf') -> config.Config:
        own.write_text(text)
        (theirs / name).write_text(guest)
        (theirs / 'more.conf').write_text('[strange]\nthing = 1\n')
        conf = config.Config()
        conf.register_opts(OPTIONS)
        conf.load(
            ['--config-file', str(own), '--config-dir', str(theirs)],
            prog='test',
            name='test',
            description='',
        )
        conf.register_opts(LATER, group='later')
        return conf

    return load


def test_what_they_say_counts_in_our_words(load):
    conf = load('[DEFAULT]\ncolor = red\n', '[DEFAULT]\ncolour = blue\n')

    assert conf.color == 'blue'
    assert conf.size == 7
    assert conf.later.shape == 'square'


def test_the_operator_changes_what_is_a_default_only(load):
    text = '[DEFAULT]\nsize = 3\n[later]\nshape = flat\n'
    conf = load(text, '[DEFAULT]\ncolour = blue\n')

    assert conf.size == 3
    assert conf.later.shape == 'flat'
    assert conf.later.weight == 'much'


def test_unknown_names_are_mistakes_in_our_own_files_only(load):
    conf = load('[DEFAULT]\ntaste = 1\n', '[DEFAULT]\ncolour = blue\ntaste = 1\n')
    found = check.names(conf)

    assert [pathlib.Path(problem.split(':')[0]).name for problem in found.problems] == [
        'agent.conf'
    ]
    assert found.warnings == ['taste: nothing here has one']


def test_a_reload_takes_over_what_they_say_then(load):
    conf = load('', '[DEFAULT]\ncolour = blue\n')
    for path in conf.foreign:
        if path.endswith('guest.conf'):
            pathlib.Path(path).write_text('[DEFAULT]\ncolour = green\n')

    assert conf.again().color == 'green'


def test_without_a_file_of_that_name_nothing_is_another_s(load):
    conf = load('', '[DEFAULT]\ncolour = blue\n', name='other.conf')

    assert not conf.foreign
    assert len(check.names(conf).problems) == 2
