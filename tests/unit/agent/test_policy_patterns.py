# SPDX-License-Identifier: Apache-2.0
import re
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from guestagent.agent.policy import patterns


def holds(value, *allowed, excluded=()):
    return patterns.Condition(
        [patterns.Pattern(text) for text in allowed],
        [patterns.Pattern(text, True) for text in excluded],
    ).holds(value)


@pytest.mark.parametrize(
    ('pattern', 'value'),
    [
        ('postgres', 'postgres'),
        ('pg-*', 'pg-12'),
        ('*', 'one'),
        ('*', ''),
        ('*', 5),
        ('a*b*c', 'a-b-b-c'),
        ('/srv/**', '/srv/a/b'),
        ('/srv/*/x', '/srv/a/x'),
        ('/srv/app-**', '/srv/app-1/x'),
        ('a*b**', 'a-b-/c'),
        ('**', None),
        ('**', {'a': [1]}),
        ('**', ['/a/../b']),
        ('null', None),
        ('true', True),
        ('60', 60),
        ('60', 60.0),
        ('60', '60'),
        ('"null"', 'null'),
        ('"a*"', 'a*'),
        ('""', ''),
        ('systemctl restart *', ['systemctl', 'restart', 'x']),
        ('systemctl restart *', 'systemctl restart x'),
        ('echo ...', ['echo']),
        ('echo ...', ['echo', 'a/b', 1]),
        ('...', []),
        ('cp ** /srv/**', ['cp', 'a/b', '/srv/c']),
        ('echo "a b"', ['echo', 'a b']),
        ('LANG=*', {'LANG': 'C'}),
        ('**', {}),
    ],
)
def test_what_a_pattern_matches(pattern, value):
    assert holds(value, pattern)


@pytest.mark.parametrize(
    ('pattern', 'value'),
    [
        ('postgres', 'postgres2'),
        ('postgres', None),
        ('*', None),
        ('*', 'a/b'),
        ('*', True),
        ('null', 'null'),
        ('true', 'true'),
        ('true', 1),
        ('1', True),
        ('60', 61),
        ('ab*bc', 'abc'),
        ('"a*"', 'ab'),
        ('/srv/*', '/srv/a/b'),
        ('/srv/**', '/srv'),
        ('/srv/**', '/srv/../etc/shadow'),
        ('/srv/**', '/srv/./a'),
        ('/srv/**', '/srv//a'),
        ('/srv/**', '/srv/a/'),
        ('/srv/**', '/srv/a\0b'),
        ('/srv/**', 'srv/a'),
        ('systemctl restart *', ['systemctl', 'restart']),
        ('systemctl restart *', ['systemctl', 'restart', 'x', 'y']),
        ('systemctl', 'systemctl restart'),
        ('/usr/bin/**', ['/usr/bin/../sbin/x']),
        ('/usr/bin/** ...', ['/usr/bin/x', '/a/../b']),
        ('LANG=*', {'LANG': 'C', 'LD_PRELOAD': 'x'}),
        ('cp ** /srv/**', 'cp a /srv/b'),
    ],
)
def test_what_it_does_not_match(pattern, value):
    assert not holds(value, pattern)


def test_what_is_excluded():
    assert holds('/etc/motd', '/etc/**', excluded=['/etc/shadow'])
    assert not holds('/etc/shadow', '/etc/**', excluded=['/etc/shadow'])
    # Another way to write it does not get around it.
    assert not holds('/etc/./shadow', '**', excluded=['/etc/shadow'])
    assert not holds('etc/shadow', '**', excluded=['/etc/shadow'])
    assert not holds({'A': 'b'}, '**', excluded=['A=*'])


@pytest.mark.parametrize('text', ['', '  ', 'a**b', '***', '/a/**/b'])
def test_patterns_that_make_no_sense(text):
    with pytest.raises(ValueError, match=r'empty|at the end'):
        patterns.Pattern(text)


def test_an_exclusion_must_make_sense_as_a_text_too():
    patterns.Pattern('cp ** x')
    with pytest.raises(ValueError, match='at the end'):
        patterns.Pattern('cp ** x', True)


def test_a_judgement_takes_time_in_proportion():
    hard = patterns.Pattern('a*a*a*a*a*a*a*a*b')
    long = 'a' * 2_000_000

    began = time.process_time()
    assert not hard.matches(long)
    assert time.process_time() - began < 1


#: Few characters, so that patterns and texts meet.
CHARACTERS = 'ab/*'


@hypothesis.settings(deadline=None, max_examples=500)
@hypothesis.example('*a**', '/a')
@hypothesis.example('/b*a**', '/b/a')
@hypothesis.given(st.text(CHARACTERS, min_size=1), st.text('ab/'))
def test_globs_are_as_regular_expressions_say(pattern, text):
    try:
        glob = patterns.Glob(pattern)
    except ValueError:
        hypothesis.assume(False)
    kept = pattern.removesuffix('**')
    expression = '[^/]*'.join(map(re.escape, kept.split('*')))
    if kept != pattern:
        expression += '.*'

    assert glob.matches(text) == bool(re.fullmatch(expression, text))


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text('ab*'), st.text('ab/'))
def test_names_are_as_regular_expressions_say(pattern, text):
    expression = '.*'.join(map(re.escape, pattern.split('*')))

    assert patterns.Starred(pattern).matches(text) == bool(
        re.fullmatch(expression, text)
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text(), JSON, st.booleans())
def test_no_value_and_no_pattern_is_too_much(text, value, excludes):
    try:
        pattern = patterns.Pattern(text, excludes)
    except ValueError:
        return

    assert pattern.matches(value) in (True, False)
    assert patterns.Condition([pattern], []).holds(value) in (True, False)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text('ab./\0', max_size=12))
def test_a_path_in_shortest_form_stays_below(rest):
    path = '/srv/' + rest
    if holds(path, '/srv/**'):
        depth = 0
        for part in path.split('/')[1:]:
            assert part not in ('', '.', '..')
            depth += 1
        assert depth >= 2
