# SPDX-License-Identifier: Apache-2.0
"""The rules of the oVirt channel: lines, versions, facts and the host's commands."""

import json
import re

import hypothesis
import pytest
from guestagent_ovirt import commands, facts, lines, negotiation
from hypothesis import strategies as st

from guestagent import errors

#: What XML 1.1 lets through: the rest is what VDSM and the original take out.
GOOD = re.compile('[\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*')
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


@hypothesis.given(st.dictionaries(st.text(st.characters()), JSON))
def test_no_character_that_xml_restricts_leaves(fields):
    line = lines.encode(lines.Message('name', fields))

    assert line.endswith(b'\n')
    assert line.count(b'\n') == 1
    assert all(GOOD.fullmatch(text) for text in texts(json.loads(line)))


@pytest.mark.parametrize('code', [0, 8, 0xB, 0xE, 0x7F, 0x86, 0xD800, 0xDFFF, 0xFFFE])
def test_a_restricted_character_is_replaced_in_keys_and_values(code):
    bad = f'a{chr(code)}b'

    assert lines.clean({bad: [bad, {'x': bad}]}) == {
        'a\ufffdb': ['a\ufffdb', {'x': 'a\ufffdb'}]
    }


@pytest.mark.parametrize('code', [9, 10, 13, 0x20, 0x85, 0xA0, 0xE000, 0xFFFD, 0x1F600])
def test_others_stay(code):
    assert lines.clean(chr(code)) == chr(code)


@hypothesis.given(
    st.lists(
        st.sampled_from(
            [
                b'{"__name__": "refresh", "apiVersion": 3}',
                b'',
                b'{"__name__": "echo", "a": "\xff\\u0000"}',
                b'[]',
                b'{"a": 1}',
                b'{"__name__": 5}',
                b'garbage',
                b'[' * 100000,
            ]
        )
    ),
    st.data(),
)
def test_lines_are_the_same_however_they_are_cut(written, data):
    stream = b''.join(line + b'\n' for line in written)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=5).map(sorted))
    whole, cut = lines.Lines(), lines.Lines()

    pieces = [
        stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    ]
    found = [each for piece in pieces for each in cut.feed(piece)]

    assert [seen(each) for each in found] == [seen(each) for each in whole.feed(stream)]
    assert len(found) == sum(1 for line in written if line)


def seen(found):
    if isinstance(found, lines.Broken):
        return str(found)
    return found.name, found.fields


def test_a_line_that_is_too_long_costs_itself_only():
    read = lines.Lines()
    good = b'{"__name__": "refresh"}\n'

    found = [
        *read.feed(good + b'x' * (lines.LINE_MAX - 1)),
        *read.feed(b'x' * 10),
        *read.feed(b'y\n' + good),
    ]

    assert [type(each) for each in found] == [
        lines.Message,
        lines.Broken,
        lines.Message,
    ]
    with pytest.raises(lines.TooLong, match='applications takes'):
        lines.encode(lines.Message('applications', {'a': 'x' * lines.LINE_MAX}))


def test_half_a_line_is_forgotten_when_its_writer_goes():
    read = lines.Lines()
    assert list(read.feed(b'{"__name__": "shut')) == []
    read.reset()

    (found,) = read.feed(b'{"__name__": "refresh"}\n')

    assert found.name == 'refresh'


def test_the_first_heartbeat_offers_0_so_that_versions_are_agreed_anew():
    agreement = negotiation.Negotiation()

    assert [agreement.offer() for _ in range(3)] == [0, 3, 3]
    assert not agreement.allows('timezone')
    assert agreement.allows('fqdn')


@pytest.mark.parametrize(
    ('said', 'agreed'),
    [(1, 1), (3, 3), (9, 3), (-1, 0), ('3', 0), (True, 0), (None, 0)],
)
def test_a_version_is_clamped(said, agreed):
    agreement = negotiation.Negotiation()
    agreement.hear(2)

    assert agreement.hear(said) is (agreed != 2)
    assert agreement.agreed == agreed
    assert agreement.allows('completion') is (agreed == 3)
    assert agreement.allows('os-info') is (agreed >= 2)
    assert agreement.allows('number-of-cpus') is (agreed >= 1)


def test_a_heartbeat_has_the_originals_units():
    rates = facts.Rates()
    before = {'swap_in': 10, 'swap_out': 0, 'faults': 1000, 'major_faults': 5}
    after = {'swap_in': 30, 'swap_out': 0, 'faults': 1500, 'major_faults': 4}
    assert rates.since(before, 100.0) == {}
    memory = {
        'total': 4096 * 1024**2,
        'free': 1024 * 1024**2,
        'buffers': 100 * 1024**2,
        'cached': 500 * 1024**2,
        'swap_total': 2 * 1024**2,
        'swap_free': 1024**2,
    }

    made = facts.heartbeat({'memory_details': memory}, rates.since(after, 105.0), 3)

    assert made.fields == {
        'free-ram': '1624',
        'memory-stat': {
            'mem_total': 4194304,
            'mem_unused': 1048576,
            'mem_free': 1662976,
            'mem_buffers': 102400,
            'mem_cached': 512000,
            'swap_usage': 1024,
            'swap_total': 2048,
            'swap_in': 4,
            'swap_out': 0,
            'pageflt': 100,
            'majflt': 0,
        },
        'apiVersion': 3,
    }


@pytest.mark.parametrize(
    ('name', 'fields', 'order'),
    [
        ('lock-screen', {}, ('sso', 'lock', {'all': True})),
        ('log-off', {'force': True}, ('sso', 'log_off', {})),
        (
            'login',
            {'username': 'a@b', 'password': 'hunter2'},
            ('sso', 'login', {'user': 'a@b', 'password': 'hunter2'}),
        ),
        (
            'shutdown',
            {'timeout': 30, 'message': 'x', 'reboot': 'False'},
            ('power', 'shutdown', {'mode': 'poweroff', 'delay': 30, 'message': 'x'}),
        ),
        (
            'shutdown',
            {'timeout': '90.5', 'reboot': 'True'},
            ('power', 'shutdown', {'mode': 'reboot', 'delay': 91, 'message': ''}),
        ),
        ('hibernate', {}, ('power', 'suspend', {'kind': 'disk'})),
        ('hibernate', {'state': 'mem'}, ('power', 'suspend', {'kind': 'ram'})),
        ('nothing', {}, None),
    ],
)
def test_commands_of_the_host(name, fields, order):
    assert commands.translate(name, fields) == order


@pytest.mark.parametrize(
    ('name', 'fields', 'text'),
    [
        ('shutdown', {}, 'timeout is None'),
        ('shutdown', {'timeout': 'soon'}, "timeout is 'soon'"),
        ('shutdown', {'timeout': ''}, "timeout is ''"),
        ('shutdown', {'timeout': -1}, 'timeout is -1'),
        ('shutdown', {'timeout': True}, 'timeout is True'),
        ('shutdown', {'timeout': 'nan'}, "timeout is 'nan'"),
        ('shutdown', {'timeout': [1]}, r'timeout is \[1\]'),
        ('shutdown', {'timeout': 1, 'reboot': 'maybe'}, "reboot is 'maybe'"),
        ('shutdown', {'timeout': 1, 'message': 3}, 'message is 3'),
        ('hibernate', {'state': 'disc'}, "state is 'disc'"),
        ('login', {'username': 'a', 'password': 3}, 'must be text'),
        ('login', {'password': 'hunter2'}, 'must be text'),
    ],
)
def test_what_is_malformed_is_refused(name, fields, text):
    with pytest.raises(errors.InvalidArgument, match=text) as caught:
        commands.translate(name, fields)
    assert 'hunter2' not in str(caught.value)


def test_an_event_must_be_one_that_has_hooks():
    assert commands.event({'type': 'before_migration'}) == 'before_migration'
    with pytest.raises(errors.InvalidArgument, match="type is '__init__'"):
        commands.event({'type': '__init__'})


@pytest.mark.parametrize(
    'torn',
    [
        b'{"__name__": "shutdo',
        b'{"__name__": "echo"}',
        b'{"a": {"b": "\\"{\\"',
        b'\xff{',
        b'{"a": [{"b": 1}, {"c": 2',
    ],
)
def test_a_message_behind_half_a_line_of_another_host(torn):
    fields = {'a': {'b': [{'c': '{"'}]}}
    message = lines.encode(lines.Message('echo', fields))
    [found] = lines.Lines().feed(torn + message)
    assert (found.name, found.fields) == ('echo', fields)


@pytest.mark.parametrize('line', [b'{"a": 1', b'x{"a": 1}', b'x' + b'{"a' * 100])
def test_half_a_line_alone_is_no_message(line):
    [found] = lines.Lines().feed(line + b'\n')
    assert isinstance(found, lines.Broken)
