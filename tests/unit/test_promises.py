# SPDX-License-Identifier: Apache-2.0
"""The tests that doc/promises.rst names are there."""

import pathlib
import re

TOP = pathlib.Path(__file__).parents[2]
NAMED = re.compile(r'``([\w/]+\.py)::(\w+)``')


def test_each_promise_has_its_tests():
    text = (TOP / 'doc/promises.rst').read_text()
    named = NAMED.findall(text)

    assert len(named) == text.count('.py::') > 20
    missing = [
        f'{path}::{name}'
        for path, name in named
        if not re.search(
            rf'^(async )?def {name}\(', (TOP / 'tests' / path).read_text(), re.MULTILINE
        )
    ]
    assert missing == []
