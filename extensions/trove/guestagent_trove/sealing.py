# SPDX-License-Identifier: Apache-2.0
"""Trove's secure RPC, in both directions; no I/O.

From the control plane each argument's value is encrypted for itself, and the context as
a whole.  To the conductor each value also names the instance whose key it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from guestagent import errors, extension
from guestagent_trove import cipher

#: Who has proven to have the key: Trove's API, task manager or conductor.
CALLER = 'trove'

_INSTANCE = 'csz-instance-id'


class Seal:
    """What has the key of an instance.

    :raises guestagent.errors.ConfigError: there is no OpenSSL.
    """

    def __init__(self, instance: str, key: str) -> None:
        self._instance = instance
        self._cipher = cipher.Cipher(key)

    def open(self, args: Any, values: Mapping[str, Any]) -> extension.Opened:
        """Open a request; all of it must have been encrypted with the key.

        :raises guestagent.errors.Refused: some of it was not.
        """
        if not isinstance(args, dict):
            raise errors.Refused('its arguments are not sealed')
        try:
            context = self._open(values.get('context'))
            opened = {name: self._open(value) for name, value in args.items()}
        except (cipher.Unopened, ValueError, RecursionError):
            raise errors.Refused(
                'it is not sealed with the key of this instance'
            ) from None
        if not isinstance(context, dict):
            raise errors.Refused('its context makes no sense')
        return extension.Opened(CALLER, opened, context, self.reply)

    def reply(self, result: Any) -> str:
        """Return a result as the control plane expects it."""
        return self._cipher.encrypt(json.dumps(result))

    def cast(
        self, args: Mapping[str, Any], context: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments and the context of a cast to the conductor."""
        sealed = {
            name: json.dumps({'entity': self.reply(value), _INSTANCE: self._instance})
            for name, value in args.items()
        }
        return sealed, {'context': self.reply(context), _INSTANCE: self._instance}

    def _open(self, text: Any) -> Any:
        return json.loads(self._cipher.decrypt(text))
