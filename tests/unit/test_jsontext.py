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
