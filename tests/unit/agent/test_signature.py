# SPDX-License-Identifier: Apache-2.0
import re
from typing import Any, Literal

import pytest

from guestagent.agent import signature


class EP:
    def echo(self, context, value: Any) -> str: ...

    def many(
        self,
        context,
        text: str,
        number: int = 1,
        share: float = 0.5,
        flag: bool = False,
        items: list[str] | None = None,
        table: dict[str, int] | None = None,
        mode: Literal['a', 'b'] = 'a',
    ) -> dict[str, Any]: ...

    def bare(self, context, value): ...

    def odd(self, context, value: set[str]): ...

    def open(self, context, *values: str): ...


def made(name):
    return signature.Signature(f'EP.{name}', getattr(EP(), name))


@pytest.mark.parametrize(
    'arguments',
    [
        {'text': 'x'},
        {
            'text': '',
            'number': 3,
            'share': 1,
            'flag': True,
            'items': [],
            'table': {},
            'mode': 'b',
        },
        {'text': 'x', 'items': ['a', 'b'], 'table': {'a': 1}},
        {'text': 'x', 'items': None, 'table': None},
    ],
)
def test_what_fits_passes(arguments):
    made('many').check(arguments)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'text': 1}, "EP.many() argument 'text' must be str, not int"),
        ({'text': 'x', 'number': True}, "argument 'number' must be int, not bool"),
        ({'text': 'x', 'number': 1.5}, "argument 'number' must be int, not float"),
        ({'text': 'x', 'flag': 1}, "argument 'flag' must be bool, not int"),
        (
            {'text': 'x', 'items': ['a', 1]},
            "argument 'items' must be list[str] or None, not list of int and str",
        ),
        ({'text': 'x', 'items': 'a'}, "argument 'items' must be list[str] or None"),
        (
            {'text': 'x', 'table': {'a': 'b'}},
            'must be dict[str, int] or None, not dict',
        ),
        ({'text': 'x', 'mode': 'c'}, "argument 'mode' must be 'a' or 'b', not str"),
        ({'text': None}, "argument 'text' must be str, not None"),
        ({}, "EP.many() missing 1 required argument: 'text'"),
        ({'text': 'x', 'zz': 1}, "EP.many() got an unexpected keyword argument 'zz'"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        made('many').check(arguments)


def test_a_wrong_value_is_not_repeated_in_the_error():
    with pytest.raises(TypeError) as caught:
        made('many').check({'text': ['hunter2']})
    assert 'hunter2' not in str(caught.value)


def test_an_unknown_argument_is_refused_in_pythons_own_words():
    with pytest.raises(TypeError) as python:
        EP().echo(None, value=1, zz=2)
    with pytest.raises(TypeError) as ours:
        made('echo').check({'value': 1, 'zz': 2})
    assert str(ours.value) == str(python.value)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('bare', 'has no annotation'),
        ('odd', 'JSON cannot carry set'),
        ('open', r'takes no \*values'),
    ],
)
def test_an_authors_mistake_is_told_when_it_is_loaded(name, message):
    with pytest.raises(TypeError, match=message):
        made(name)
