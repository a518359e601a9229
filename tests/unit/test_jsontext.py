# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestagent import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
SPACE = st.text(alphabet=' \t\r\n', max_size=2)


@given(VALUES, SPACE, SPACE)
def test_it_reads_what_json_reads(value, before, behind):
    assert jsontext.loads(f'{before}{json.dumps(value)}{behind}') == value


@pytest.mark.parametrize(
    'text', ['', ' ', '{', '{}}', '{} {}', '{}x', '[1', '\ufeff{}']
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(json.JSONDecodeError):
        jsontext.loads(text)


def _twice(fields):
    return json.dumps({'inside': json.dumps(fields)})


@given(VALUES, st.text(alphabet='ABCxyz019+/=', max_size=20), st.booleans())
def test_what_goes_in_verbatim_is_what_the_encoder_would_write(value, text, alone):
    def fields(data):
        return {'id': value, 'result': data if alone else {'a': value, 'data': data}}

    for encode in (json.dumps, _twice):
        written = jsontext.written(fields(jsontext.Verbatim(text)), encode)
        assert written == encode(fields(text))


def test_what_is_not_verbatim_is_escaped():
    fields = {'result': {'data': 'a"b\\'}}
    assert json.loads(jsontext.written(fields, json.dumps)) == fields


@pytest.mark.parametrize(
    ('text', 'known'),
    [
        ('A' * 70000, True),
        ('A', False),
        ('A' * 70000 + '"', False),
        ('ä' * 70000, False),
    ],
)
@pytest.mark.parametrize('plain', [True, False])
def test_what_was_not_escaped_is_verbatim(text, known, plain):
    fields = {'result': {'other': 1, 'data': text}}
    line = json.dumps(fields, ensure_ascii=plain).encode()
    read = jsontext.recognized(json.loads(line), line)
    assert read == fields
    assert (type(read['result']['data']) is jsontext.Verbatim) == known
    assert jsontext.written(read, json.dumps) == json.dumps(fields)
