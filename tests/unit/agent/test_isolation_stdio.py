# SPDX-License-Identifier: Apache-2.0
"""The lines of the stdio protocol, the types in them, and the hello; no I/O."""

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent import errors, extension
from guestagent.agent import signature
from guestagent.agent.isolation import description, hello, kinds, stdio

MESSAGES = [
    {'type': 'result', 'id': 1, 'result': 'ä'},
    {'type': 'event', 'name': 'x', 'data': {'text': 'a\nb'}},
    {'type': 'health', 'text': ''},
]
LINES = b''.join(map(stdio.encode, MESSAGES))


@given(st.lists(st.integers(1, len(LINES)), max_size=20))
def test_messages_do_not_depend_on_how_they_are_cut(cuts):
    lines = stdio.Lines()
    found = []
    start = 0
    for end in [*sorted(cuts), len(LINES)]:
        found += lines.feed(LINES[start:end])
        start = end
    assert found == MESSAGES


@pytest.mark.parametrize(
    'line', [b'hello', b'[]', b'{}', b'{"type": 1}', b'', b'\xff', b'[' * 100000]
)
def test_what_is_no_message_is_quoted(line):
    with pytest.raises(stdio.Broken, match='a line is'):
        list(stdio.Lines().feed(line + b'\n'))


@pytest.mark.parametrize('end', [b'', b'\n'])
def test_a_line_has_a_bound(end):
    lines = stdio.Lines(longest=100)
    assert list(lines.feed(b'"' * 60)) == []
    with pytest.raises(stdio.Broken, match='longer than 100 bytes'):
        list(lines.feed(b'"' * 60 + end))
    with pytest.raises(stdio.Broken, match='longer than 100 bytes'):
        list(stdio.Lines(longest=100).feed(b'"' * 101 + end))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_judged(data):
    try:
        for message in stdio.Lines().feed(data):
            assert isinstance(message['type'], str)
    except stdio.Broken:
        pass


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (errors.InvalidArgument('no'), errors.InvalidArgument),
        (errors.NoSuchMethod('no'), errors.NoSuchMethod),
        (LookupError('no'), LookupError),
        (KeyError('no'), KeyError),
        (UnicodeDecodeError('utf-8', b'', 0, 1, 'no'), UnicodeDecodeError),
        (ExceptionGroup('no', [ValueError()]), Exception),
    ],
)
def test_errors_travel(error, kind):
    told = json.loads(json.dumps(stdio.failure(error)))
    made = stdio.error(told)
    assert isinstance(made, kind)
    assert (type(made).__name__, type(made).__module__, str(made)) == (
        type(error).__name__,
        type(error).__module__,
        str(error),
    )


def test_an_unknown_error_keeps_its_name():
    made = stdio.error({'error': 'Odd', 'module': 'odd.things', 'message': 'no'})
    assert (type(made).__name__, type(made).__module__) == ('Odd', 'odd.things')
    assert type(stdio.error({})) is errors.GuestError
    assert type(stdio.error({'error': '\ud800'})).__name__ == 'GuestError'
    # A name that is no error must not become one.
    assert type(stdio.error({'error': 'print'})).__bases__ == (Exception,)
    assert type(stdio.error({'error': 'SystemExit'})).__bases__ == (Exception,)


@pytest.mark.parametrize(
    'annotation',
    [
        str, int, float, bool, None, Any, list, dict, list[int], dict[str, list[str]],
        Literal['a', 1], str | None, int | list[str] | None,
    ],
)  # fmt: skip
def test_annotations_travel(annotation):
    told = json.loads(json.dumps(kinds.describe(annotation)))
    again = kinds.read(told)
    assert signature.describe(again) == signature.describe(annotation)
    assert kinds.describe(again) == told


@pytest.mark.parametrize(
    'described',
    ['bytes', 1, None, {'list': 'x'}, {'list': 'str', 'dict': 'str'}, {'union': []},
     {'literal': [1.5]}, {'literal': 'ab'}, {'set': 'str'}],
)  # fmt: skip
def test_what_is_no_type_is_refused(described):
    with pytest.raises(stdio.Broken):
        kinds.read(described)


def test_types_have_a_depth():
    described = 'str'
    for _ in range(100):
        described = {'list': described}
    with pytest.raises(stdio.Broken, match='too many types'):
        kinds.read(described)


class Sensor(extension.Extension):
    """Senses."""

    version = '2.1'

    @extension.command(mutates=True, timeout=None, sensitive=('key',))
    def read(
        self, context: extension.Context, key: str, place: str = 'roof'
    ) -> dict[str, float]:
        """Return the temperature."""
        return {}

    @extension.periodic(spacing=5, jitter=0.2, immediately=False, first=2)
    def watch(self) -> None:
        """Watch."""


def test_a_class_says_all_of_itself():
    told = json.loads(json.dumps({'type': 'hello', **description.describe(Sensor)}))
    said = hello.read(told)
    assert (said.version, said.doc) == ('2.1', 'Senses.')
    command = said.commands['read']
    assert command.doc == 'Return the temperature.'
    assert (command.info.mutates, command.info.timeout) == (True, None)
    assert command.info.sensitive == {'key'}
    assert [(each.name, each.required, each.default) for each in command.arguments] == [
        ('key', True, None),
        ('place', False, 'roof'),
    ]
    assert said.periodics['watch'].spacing == 5
    assert not said.periodics['watch'].immediately
    assert said.periodics['watch'].first == 2


GOOD = {'type': 'hello', 'protocol': 1}
RUN = {'mutates': False}


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'type': 'result'}, 'not .hello'),
        ({'protocol': 2}, 'speaks protocol 2; this agent speaks 1'),
        ({'protocol': None}, 'speaks protocol None'),
        ({'version': '1'}, 'is not as 1.0'),
        ({'version': 1.0}, 'version is 1.0'),
        ({'commands': []}, 'commands is'),
        ({'commands': {'_run': RUN}}, 'must be a name'),
        ({'commands': {'a b': RUN}}, 'must be a name'),
        ({'commands': {'run': {}}}, 'whether it mutates'),
        ({'commands': {'run': {'mutates': 1}}}, 'mutates is 1'),
        ({'commands': {'run': {**RUN, 'timeout': True}}}, 'timeout is True'),
        ({'commands': {'run': {**RUN, 'arguments': [1]}}}, 'describes no argument'),
        ({'commands': {'run': {**RUN, 'arguments': [{'name': 'a', 'type': 'b'}]}}},
         'is no type'),
        ({'commands': {'run': {**RUN, 'arguments': [{'name': 'a'}, {'name': 'a'}]}}},
         'two arguments of one name'),
        ({'commands': {'run': {**RUN, 'timeout': 10**400}}}, 'timeout is 1000'),
        ({'commands': {'run': {**RUN, 'arguments': [{'name': 'class'}]}}},
         'no argument can have'),
        ({'commands': {'health': RUN}}, "'health' is taken"),
        ({'commands': {'run': RUN}, 'periodics': {'run': {}}}, "'run' is taken"),
        ({'periodics': {'tick': {'spacing': -1}}}, 'spacing is -1'),
        ({'periodics': {'tick': {'spacing': float('nan')}}}, 'spacing is nan'),
        ({'periodics': {'tick': {'jitter': 2}}}, 'jitter is 2'),
        ({'periodics': {'tick': {'option': 'period'}}}, 'does not exist'),
        ({'options': {'limit': {'default': 1}}}, 'default is 1'),
    ],
)  # fmt: skip
def test_a_hello_is_judged(change, said):
    hello.read(GOOD)
    with pytest.raises(stdio.Broken, match=said):
        hello.read({**GOOD, **change})
