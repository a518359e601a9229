# SPDX-License-Identifier: Apache-2.0
"""What of PostgreSQL's engine needs no server: names, hosts and lines of files."""

from __future__ import annotations

import pathlib
import re

import pytest
from guestagent_datastore import models
from guestagent_datastore.engines import postgresql
from guestagent_datastore.engines.postgresql import (
    conffile,
    hba,
    names,
    paging,
    replica,
)
from hypothesis import given
from hypothesis import strategies as st

from guestagent import errors


@pytest.mark.parametrize(
    ('host', 'address'),
    [
        ('%', 'all'),
        ('10.%', '10.0.0.0/8'),
        ('10.1.%', '10.1.0.0/16'),
        ('192.168.1.%', '192.168.1.0/24'),
        ('10.1.2.3', '10.1.2.3/32'),
        ('10.1.2.3/8', '10.0.0.0/8'),
        ('2001:db8::1', '2001:db8::1/128'),
        ('::/0', '::/0'),
        ('DB.example.org', 'db.example.org'),
        ('.example.org', '.example.org'),
    ],
)
def test_hosts_that_a_user_may_come_from(host: str, address: str) -> None:
    assert names.address(host) == address


@pytest.mark.parametrize(
    'host',
    ['', '10.%.%', '300.%', '1.2.3', 'a b', 'a\nb', '10.0.0.0/33', '%%', '"all"'],
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r'host: .* is no address'):
        names.address(host)


def test_the_first_rule_that_fits_counts() -> None:
    text = hba.rules({'b"ob': '10.%', 'all': '1.2.3.4'}, tls_required=True)
    rules = [line for line in text.splitlines() if not line.startswith('#')]
    assert rules == [
        'local all,replication os_admin,postgres peer map=guestagent',
        'host all,replication os_admin all reject',
        'hostnossl all,replication all all reject',
        'host replication,postgres os_replicator all scram-sha-256',
        'host all os_replicator all reject',
        'host all "all" 1.2.3.4/32 scram-sha-256',
        'host all "all" all reject',
        'host all "b""ob" 10.0.0.0/8 scram-sha-256',
        'host all "b""ob" all reject',
        'local all all scram-sha-256',
        'host all all all scram-sha-256',
    ]


def test_the_agents_user_is_the_administrator() -> None:
    lines = hba.identities(['root', 'postgres', 'root']).splitlines()[1:]
    assert lines == [
        'guestagent "root" os_admin',
        'guestagent "root" postgres',
        'guestagent "postgres" os_admin',
        'guestagent "postgres" postgres',
    ]


@given(st.text(st.characters(exclude_characters='\0', exclude_categories=('Cs',))))
def test_a_value_stays_within_its_line_and_its_quotes(value: str) -> None:
    quoted = conffile.quote(value)
    assert quoted[0] == quoted[-1] == "'"
    assert '\n' not in quoted
    assert '\r' not in quoted
    inner = quoted[1:-1].replace("''", '')
    assert "'" not in inner
    assert not re.search(r'(?<!\\)(\\\\)*\\[^\\nr]', inner)


def test_values_as_the_server_reads_them() -> None:
    assert conffile.lines({'a': True, 'b': 1.5, 'c': 'x y', 'd.e': 0}) == (
        f"{conffile.HEAD}a = 'on'\nb = '1.5'\nc = 'x y'\nd.e = '0'\n"
    )
    assert conffile.check_name('Work_Mem') == 'work_mem'
    for name in ('', 'a b', "a'", 'a\n', '1a', 'a.', 'ä'):
        with pytest.raises(errors.InvalidArgument, match='no parameter'):
            conffile.check_name(name)
    with pytest.raises(errors.InvalidArgument, match='NUL'):
        conffile.quote('a\0')


def test_other_files_of_an_operators_text_are_left_out() -> None:
    text = (
        "a = 1\n include 'x'\nINCLUDE_DIR '/y'\ninclude_if_exists = 'z'\nincluded = 2"
    )
    assert conffile.without_includes(text) == 'a = 1\nincluded = 2\n'


def test_a_page_has_a_marker_if_there_is_more() -> None:
    assert paging.rows(None) is None
    assert paging.rows(2) == 3
    page = paging.page('abc', 2, str)
    assert (page.items, page.next_marker) == (('a', 'b'), 'b')
    page = paging.page('ab', 2, str)
    assert (page.items, page.next_marker) == (('a', 'b'), None)
    assert paging.page('abc', None, str).items == ('a', 'b', 'c')


@pytest.mark.parametrize(('seconds', 'times'), [(60, 3), (-1, 1)])
def test_a_slot_that_the_source_still_has_in_use_is_tried_again(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
    times: int,
) -> None:
    monkeypatch.setattr(replica, 'DROP_SECONDS', seconds)
    monkeypatch.setattr(replica, 'DROP_STEP', 0)
    place = models.Place(*[tmp_path] * 6, user='postgres', port=5432, listen='')
    engine = postgresql.PostgreSQL(place)
    asked: list[tuple[str, ...]] = []

    def run(*words: str) -> str:
        asked.append(words)
        if len(asked) < 3:
            raise errors.GuestError('it is active for PID 7')
        return ''

    monkeypatch.setattr(engine, 'run', run)
    engine._drop_slot('host=db', 'mine')
    words = ('pg_receivewal', '--dbname=host=db', '--slot=mine', '--drop-slot')
    assert asked == [words] * times
    assert ('mine stays at the source: it is active' in caplog.text) == (times == 1)
