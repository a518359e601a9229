# SPDX-License-Identifier: Apache-2.0
"""Call an extension with no agent and no bus around it, checked as the agent checks."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from oslo_config import cfg

from guestagent import errors, extension
from guestagent.agent import registry
from guestagent.testing import host as hosts

Kind = TypeVar('Kind', bound=extension.Extension)


@contextlib.contextmanager
def started(
    kind: type[Kind],
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    host: extension.Host | None = None,
) -> Iterator[Kind]:
    """Make and start an extension; stop it at the end of the ``with`` block.

    :param name: the extension's; ``None``: the class's, in lower case.
    :param options: values for some of its options; the others have their defaults.
    :param host: what takes its reports; ``None``: one that forgets them.
    :raises oslo_config.cfg.Error: there is no such option.
    :raises ValueError: an option's value is wrong.
    """
    called = name or re.sub(r'\W', '', kind.__name__).lower()
    conf = cfg.ConfigOpts()
    conf([], project='guestagent', default_config_files=[], default_config_dirs=[])
    offered = kind.list_options()
    conf.register_opts(offered, group=called)
    for option, value in (options or {}).items():
        conf.set_override(option, value, group=called)
    made = kind(
        called,
        conf[called] if offered else None,
        hosts.Host() if host is None else host,
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()


def call(
    target: type[extension.Extension] | extension.Extension,
    method: str,
    /,
    *,
    options: Mapping[str, Any] | None = None,
    host: extension.Host | None = None,
    context: extension.Context | None = None,
    **arguments: Any,
) -> Any:
    """Run a command as the agent would, and return its result as a caller gets it.

    :param target: a class, which is made, started and stopped for this call, or an
        extension that :func:`started` has given.
    :param options: as for :func:`started`, as is ``host``; both are for a class.
    :param context: ``None``: one of nobody's, with the command's time limit.
    :raises guestagent.errors.NoSuchMethod: it has no such command.
    :raises TypeError: the arguments do not fit, or an annotation cannot be checked.
    :raises guestagent.errors.BadResult: JSON cannot carry the result.
    """
    if not isinstance(target, extension.Extension):
        with started(target, options=options, host=host) as made:
            return call(made, method, context=context, **arguments)
    command = registry.Loaded(target.name, target).commands.get(method)
    if command is None:
        raise errors.NoSuchMethod(method)
    given = json.loads(json.dumps(arguments))
    command.signature.check(given)
    if context is None:
        limit = command.info.timeout
        context = extension.Context(
            deadline=None if limit is None else time.monotonic() + limit
        )
    result = command.function(context, **given)
    try:
        return json.loads(json.dumps(result))
    except (TypeError, ValueError, RecursionError) as error:
        raise errors.BadResult(f'the result cannot be sent as JSON: {error}') from None
