# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to a log shows, to who knows its length and its head."""

import hashlib
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from guestagent.agent.audit import chain


def made(records):
    """Return the lines of records, and the head."""
    growing = chain.Chain()
    lines = [growing.add([record]).decode().rstrip('\n') for record in records]
    return lines, growing.head


def holds(lines, head):
    """Whether these are the lines of the chain that ends so."""
    last = chain.Head()
    try:
        for record in chain.follow(lines):
            last = record.head
    except chain.Broken:
        return False
    return last == head


RECORDS = st.lists(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name not in ('n', 'chain')),
        st.text(max_size=5) | st.integers() | st.none(),
        max_size=3,
    ),
    max_size=8,
)


@hypothesis.settings(deadline=None)
@hypothesis.given(RECORDS)
def test_a_chain_holds(records):
    lines, head = made(records)

    assert holds(lines, head)
    assert head.length == len(records)
    for line, record in zip(lines, records, strict=True):
        assert record.items() <= json.loads(line).items()


@hypothesis.settings(deadline=None)
@hypothesis.given(RECORDS.filter(bool), st.data())
def test_a_change_shows(records, data):
    lines, head = made(records)
    index = data.draw(st.integers(0, len(lines) - 1))
    line = lines[index]
    at = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(at, len(line)))
    other = line[:at] + data.draw(st.text(max_size=3)) + line[end:]
    hypothesis.assume(other != line)

    assert not holds([*lines[:index], other, *lines[index + 1 :]], head)


@hypothesis.settings(deadline=None)
@hypothesis.given(RECORDS.filter(bool), st.data())
def test_what_is_missing_moved_or_repeated_shows(records, data):
    lines, head = made(records)
    others = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 1))
    hypothesis.assume(others != lines)

    assert not holds(others, head)


@hypothesis.settings(deadline=None)
@hypothesis.given(RECORDS.filter(bool), RECORDS)
def test_another_log_shows(records, others):
    hypothesis.assume(others != records)

    assert not holds(made(others)[0], made(records)[1])


def test_the_format_is_as_the_document_says():
    (line, *_), _ = made([{'kind': 'start'}])
    body = '{"n":1,"kind":"start"'
    link = hashlib.sha256(('0' * 64 + body).encode()).hexdigest()

    assert line == f'{body},"chain":"{link}"}}'


def test_a_log_whose_beginning_is_gone_stands_on_what_it_names():
    growing = chain.Chain()
    growing.add([{'kind': 'gone'}])
    before = growing.head
    begin = growing.add([{'kind': chain.BEGIN, 'prev': before.digest}])
    lines = [begin.decode().strip(), growing.add([{'a': 1}]).decode().strip()]

    assert [record.head.length for record in chain.follow(lines)] == [2, 3]
    with pytest.raises(chain.Broken, match='does not begin a file'):
        list(chain.follow(lines[1:]))


@pytest.mark.parametrize('line', ['', '{}', 'x', '[1]', '{"chain":"0"}'])
def test_what_is_no_record(line):
    with pytest.raises(chain.Broken, match='after record 0: a line is no'):
        list(chain.follow([line]))


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.text()))
def test_no_text_is_too_much(lines):
    assert not holds(lines, chain.Head(1, 'x'))
