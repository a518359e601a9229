# SPDX-License-Identifier: Apache-2.0
"""Find the command that a request names, and refuse as oslo.messaging's server does.

Its answers, with their quirks (a version that is no text ends in a builtin error),
are in doc/wire.rst, section 5.
"""

from __future__ import annotations

from typing import Any

from guestagent import errors
from guestagent.agent import registry, steps
from guestagent.agent import request as requests


class Version(steps.Step):
    """Sets ``request.command``."""

    def __init__(self, known: registry.Registry) -> None:
        self._known = known

    def admit(self, request: requests.Request) -> None:
        """Find the command.

        :raises guestagent.errors.UnsupportedVersion: no such namespace, or not in
            this version.
        :raises guestagent.errors.NoSuchMethod: no such command there.
        """
        namespace = request.namespace
        if namespace is not None and not isinstance(namespace, str):
            raise errors.UnsupportedVersion(request.version, request.method)
        served = self._known.find(namespace)
        if served is None or not is_compatible(served.version, request.version):
            raise errors.UnsupportedVersion(request.version, request.method)
        method = request.method
        if not isinstance(method, str):
            raise TypeError(
                f"attribute name must be string, not '{type(method).__name__}'"
            )
        command = served.commands.get(method)
        if command is None:
            raise errors.NoSuchMethod(method)
        request.command = command


def is_compatible(served: str, requested: Any) -> bool:
    """Whether ``requested`` (major.minor[.revision]) is served by ``served``.

    :raises IndexError, ValueError, AttributeError: it is no such text; these are
        what oslo.messaging answers with.
    """
    if requested == served:
        return True
    if requested is None:
        return False
    parts, own = requested.split('.'), served.split('.')
    revision = parts[2] if len(parts) > 2 else 0
    own_revision = own[2] if len(own) > 2 else 0
    if int(parts[0]) != int(own[0]) or int(parts[1]) > int(own[1]):
        return False
    return int(parts[1]) < int(own[1]) or int(revision) <= int(own_revision)
