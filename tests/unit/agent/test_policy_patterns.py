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
        ('/srv/**', '/srv/\udcc3\udca9'),
        ('/bin/cat /srv/**', ['/bin/cat', '/srv/\udcc3\udca9']),
        ('/bin/cat **', ['/bin/cat', 'srv/\udcc3\udca9']),
        ('/srv/** **', ['/srv/a', ['/a/../b']]),
        ('/srv/** **', ['/srv/a', {'x': 1}]),
        ('/srv/**', {'/srv/a': '/srv/../b'}),
        ('/srv/**', {'/srv/a': ['b']}),
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
    # The same bytes as /srv/é has.
    assert holds('/srv/é', '/srv/**')
    assert not holds('/srv/\udcc3\udca9', '/srv/**', excluded=['/srv/é'])


def test_what_is_excluded_from_lists():
    rm = ['/bin/rm ...', '/usr/bin/rm ...']
    assert holds(['/bin/ls', 'x'], '**', excluded=rm)
    assert not holds(['/bin/rm', 'x'], '**', excluded=rm)
    # These may be the same program: it is looked for, or it is where the command runs.
    for program in ('rm', 'bin/rm', './rm', '../bin/rm', ''):
        assert not holds([program, 'x'], '**', excluded=rm), program
    assert not holds(['/bin/../bin/rm', 'x'], '**', excluded=rm)
    # A word that is no path need not be one.
    target = ['cp ** /srv/own']
    assert not holds(['cp', 'a', 'own'], 'cp ...', excluded=target)
    assert holds(['cp', 'a', '/srv/b'], 'cp ...', excluded=target)
    assert holds(['mv', 'a', 'own'], 'mv ...', excluded=target)
    assert not holds([], '**', excluded=['**'])


@pytest.mark.parametrize('text', ['', '  ', 'a**b', '***', '/a/**/b'])
def test_patterns_that_make_no_sense(text):
    with pytest.raises(ValueError, match=r'empty|at the end'):
        patterns.Pattern(text)


def test_a_star_in_what_is_excluded_stands_for_a_slash_too():
    assert not holds({'LD_PRELOAD': '/tmp/x.so'}, '**', excluded=['LD_*=*'])
    assert holds({'LANG': '/tmp/x.so'}, '**', excluded=['LD_*=*'])
    assert not holds('/srv/a/b', '/srv/**', excluded=['/srv/*b'])
    assert not holds('/srv/a/b/c', '/srv/**', excluded=['/srv/**/c'])
    assert holds('/srv/a/b', '/srv/**', excluded=['/srv/**/c'])


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
