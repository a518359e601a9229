# SPDX-License-Identifier: Apache-2.0
"""What the value of an argument may be; no I/O.

Every judgement takes time in proportion to the value, whatever a caller sends: there
is no backtracking.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Stands for what is no value of its own: a text with wildcards.
_TEXT = object()

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?=\s|$)|\S+')


class Starred:
    """A text in which ``*`` stands for any characters, or none."""

    __slots__ = ('_first', '_last', '_middle', '_open')

    def __init__(self, text: str, is_open: bool = False) -> None:
        """Make it.

        :param is_open: whether anything may follow.
        """
        self._first, *rest = text.split('*')
        self._last = rest.pop() if rest and not is_open else ''
        self._middle = rest
        self._open = is_open or '*' in text

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` is as this says."""
        if not self._open:
            return text == self._first
        if not text.startswith(self._first):
            return False
        at, end = len(self._first), len(text) - len(self._last)
        for part in self._middle:
            at = text.find(part, at, max(end, 0))
            if at < 0:
                return False
            at += len(part)
        return at <= end and text.endswith(self._last)


class Glob:
    """A text in which ``*`` stands for characters without ``/``.

    ``**`` at the end stands for any characters.

    :raises ValueError: ``**`` stands elsewhere.
    """

    __slots__ = ('_exact', '_open', '_segments', 'is_path')

    def __init__(self, text: str) -> None:
        self._exact = None if '*' in text else text
        self._open = text.endswith('**')
        kept = text.removesuffix('**')
        if '**' in kept or (kept.endswith('*') and self._open):
            raise ValueError(f'{text!r}: ** may stand at the end only')
        *whole, last = kept.split('/')
        self._segments = [Starred(segment) for segment in whole]
        self._segments.append(Starred(last, self._open))
        self.is_path = text.startswith('/')

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` is as this says."""
        if self._exact is not None:
            return text == self._exact
        count = len(self._segments)
        pieces = text.split('/', count)
        if self._open:
            del pieces[count:]  # What ``**`` stands for; no ``*`` before it does.
        if len(pieces) != count:
            return False
        for segment, piece in zip(self._segments, pieces, strict=True):
            if not segment.matches(piece):
                return False
        return True


class _Wide:
    """A text in which each ``*`` stands for any characters: what is kept out."""

    __slots__ = ('_starred', 'is_path')

    def __init__(self, text: str) -> None:
        self._starred = Starred(text)
        self.is_path = text.startswith('/')

    def matches(self, text: str) -> bool:
        return self._starred.matches(text)


class _Exact:
    """A text without wildcards; it was written in quotes."""

    __slots__ = ('_text', 'is_path')

    def __init__(self, text: str) -> None:
        self._text = text
        self.is_path = text.startswith('/')

    def matches(self, text: str) -> bool:
        return text == self._text


class _Never:
    """In the place of a text that is good as a list of words only."""

    __slots__ = ()
    is_path = False

    def matches(self, text: str) -> bool:
        return False


class Pattern:
    """One value that an argument may have, or may not have.

    :raises ValueError: it makes no sense.
    """

    __slots__ = ('_any', '_more', '_text', '_value', '_words', 'is_path')

    def __init__(self, text: str, excludes: bool = False) -> None:
        """Make it.

        :param excludes: whether it says what may not be; ``*`` is any characters then.
        """
        words = _WORD.findall(text)
        if not words:
            raise ValueError('it is empty; write "" for an empty text')
        lenient = len(words) > 1
        self._any = text == '**'
        self._value = _literal(text)
        self._more = words[-1] == '...'
        if self._more:
            del words[-1]
        self._words = [_word(word, lenient, excludes) for word in words]
        self._text = _word(text, lenient, excludes)
        self.is_path = self._text.is_path or any(one.is_path for one in self._words)

    def matches(self, value: Any) -> bool:
        """Whether ``value``, as JSON gave it, is as this says."""
        if self._any:
            return True
        if isinstance(value, list):
            return self._matches_list(value)
        if self._value is None or isinstance(self._value, bool):
            return value is self._value
        if value is None or isinstance(value, (bool, dict)):
            return False
        if _is_number(value) and _is_number(self._value):
            return bool(value == self._value)
        return self._text.matches(_as_text(value))

    def excludes(self, value: Any) -> bool:
        """Whether it keeps ``value`` out: a list with another way to write it, too.

        Nobody knows what a relative path stands for.
        """
        if isinstance(value, list):
            return self._any or self._matches_list(value, relative=True)
        return self.matches(value)

    def _matches_list(self, items: list[Any], relative: bool = False) -> bool:
        """Whether words are as this says.

        :param relative: whether a relative path is as any.
        """
        count = len(self._words)
        if len(items) < count or (len(items) > count and not self._more):
            return False
        for word, item in zip(self._words, items, strict=False):
            text = _as_text(item)
            if not word.matches(text) and not (
                relative and word.is_path and not text.startswith('/')
            ):
                return False
        return True


class Condition:
    """All that is said of one argument.

    :param allowed: one of these must match.
    :param excluded: none of these may.
    :ivar is_path: a text must be the shortest form of an absolute path.
    """

    __slots__ = ('_allowed', '_excluded', 'is_path')

    def __init__(self, allowed: Iterable[Pattern], excluded: Iterable[Pattern]) -> None:
        self._allowed = tuple(allowed)
        self._excluded = tuple(excluded)
        self.is_path = any(one.is_path for one in (*self._allowed, *self._excluded))

    def holds(self, value: Any) -> bool:
        """Whether an argument may have this value."""
        if isinstance(value, dict):
            return self._holds_for_entries(value)
        for one in self._allowed:
            if one.matches(value):
                break
        else:
            return False
        if self.is_path and not _is_judgeable(value):
            return False
        return not any(one.excludes(value) for one in self._excluded)

    def _holds_for_entries(self, value: Mapping[str, Any]) -> bool:
        """Judge each entry of an object as the text ``name=value``."""
        if self.is_path and not _is_judgeable([*value, *value.values()]):
            return False
        return all(
            any(one.matches(entry) for one in self._allowed)
            and not any(one.matches(entry) for one in self._excluded)
            for entry in (f'{name}={_as_text(item)}' for name, item in value.items())
        )


def is_shortest_path(text: str) -> bool:
    """Whether it is an absolute path without ``.``, ``..``, ``//`` and a last ``/``.

    What is not Unicode is none: halves of surrogates are another way to write bytes.
    """
    if text == '/':
        return True
    if not text.startswith('/') or '\0' in text or not _is_utf8(text):
        return False
    return all(part not in ('', '.', '..') for part in text[1:].split('/'))


def _is_judgeable(value: Any) -> bool:
    """Whether paths in a value are what they look like."""
    if isinstance(value, str):
        return is_shortest_path(value)
    if isinstance(value, list):
        return all(map(_is_judgeable_item, value))
    return True


def _is_judgeable_item(item: Any) -> bool:
    if isinstance(item, str):
        return is_shortest_path(item) if item.startswith('/') else _is_utf8(item)
    # What is within another list or object is not looked at.
    return not isinstance(item, (list, dict))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _word(text: str, lenient: bool, wide: bool) -> Glob | _Wide | _Exact | _Never:
    literal = _literal(text)
    if isinstance(literal, str):
        return _Exact(literal)
    if wide:
        return _Wide(text)
    try:
        return Glob(text)
    except ValueError:
        if lenient:
            return _Never()
        raise


def _literal(text: str) -> Any:
    """Return the value that a text is in JSON, if it is no object or list."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _TEXT
    return _TEXT if isinstance(value, (dict, list)) else value


def _refuse(name: str) -> None:
    raise ValueError(f'{name} is not JSON')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
