# SPDX-License-Identifier: Apache-2.0
"""doc/datastore.rst names all commands of the extension, with their arguments."""

from __future__ import annotations

import inspect
import pathlib
import re
from collections.abc import Iterator

from guestagent_datastore import extension as datastore

from guestagent import extension

DOC = pathlib.Path(__file__).parents[3] / 'doc' / 'datastore.rst'


def signatures() -> Iterator[str]:
    """Return each command as the page has it."""
    for name in dir(datastore.Datastore):
        method = getattr(datastore.Datastore, name)
        if hasattr(method, extension.COMMAND_MARK):
            parameters = list(inspect.signature(method).parameters.values())[2:]
            yield f'{name}({", ".join(map(shown, parameters))})'


def shown(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return parameter.name
    words = {None: 'null', True: 'true', False: 'false'}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return f'{parameter.name}={text}'


def test_each_command_is_there_as_it_is() -> None:
    text = re.sub(r'\s+', ' ', DOC.read_text())
    named = set(re.findall(r'``datastore\.(\w+\(.*?\))``', text))
    assert named == set(signatures())
