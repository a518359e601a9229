# SPDX-License-Identifier: Apache-2.0
"""Which events are made of what logind tells."""

import pytest
from guestagent_sso import logind, members, tracker

from guestagent import errors


def session(name='c1', **fields):
    made = logind.Session(
        id=name,
        path=f'/session/{name}',
        user='alice',
        uid=1000,
        seat='seat0',
        kind='wayland',
        use='user',
        state='active',
        active=True,
        locked=False,
        service='gdm',
    )
    return made._replace(**fields)


@pytest.fixture
def events():
    return []


@pytest.fixture
def known(events):
    return tracker.Tracker(
        lambda event, about: events.append((event, about['session']))
    )


def test_who_is_there_at_the_start_is_no_news(known, events):
    known.begin([session(locked=True), session('c2', use='greeter')])
    assert events == []
    assert [one.tell()['locked'] for one in known.sessions()] == [True]
    known.see(session(locked=False))
    assert events == [('unlock', 'c1')]


def test_a_session_from_its_beginning_to_its_end(known, events):
    known.see(session(locked=True))
    known.see(session(locked=True, state='online', active=False))
    known.see(session())
    known.see(session(state='closing'))
    known.remove('c1')
    assert [event for event, _ in events] == ['logon', 'lock', 'unlock', 'logoff']
    assert known.sessions() == []


@pytest.mark.parametrize('use', ['greeter', 'lock-screen', 'background', 'manager'])
def test_greeters_and_services_are_nobody(known, events, use):
    known.see(session(use=use))
    known.remove('c1')
    assert events == []


def test_a_desktop_that_was_asked_and_one_that_tells(known, events):
    known.see(session())
    known.ask('/session/c1', True)
    # The same, told by the desktop a moment later, is no news.
    known.see(session(locked=True))
    known.ask('/session/c1', False)
    known.see(session(locked=False))
    known.ask('/session/other', True)
    assert [event for event, _ in events] == ['logon', 'lock', 'unlock']


def test_what_has_no_screen_is_not_locked(known, events):
    known.see(session(kind='tty'))
    known.ask('/session/c1', True)
    assert [event for event, _ in events] == ['logon']


def test_what_was_missed_is_told_later(known, events):
    known.begin([session('c1'), session('c2')])
    known.compare([session('c2', locked=True), session('c3')])
    assert events == [('logoff', 'c1'), ('lock', 'c2'), ('logon', 'c3')]


def test_which_session_is_spoken_to(known):
    with pytest.raises(errors.GuestError, match='nobody is logged in at seat0'):
        members.choose(known, None)
    known.see(session('c1', active=False))
    known.see(session('c2'))
    assert members.choose(known, None) == 'c2'
    assert members.choose(known, 'c2') == 'c2'
    with pytest.raises(errors.GuestError, match='c1 is not active'):
        members.choose(known, 'c1')
    with pytest.raises(errors.InvalidArgument, match="id 'c3'"):
        members.choose(known, 'c3')
