# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ's HTTP API, as far as enrolment needs it.

Of the clients that there are, those that know topic permissions and limits are not
kept any more; the API itself is a few paths, asked through requests.
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

import requests

from guestagent import errors

#: Seconds for a connection, and for an answer.
_TIMEOUT = (5, 30)


class Api:
    """The API of one broker; one connection, for one thread.

    :param url: as https://user:password@host:15671; it may have a path.
    :param ca_file: the authority that its certificate must be of; ``''``: one that the
        system trusts.
    :raises guestagent.errors.ConfigError: the URL is none.
    """

    def __init__(self, url: str, ca_file: str = '') -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            raise errors.ConfigError(
                '[enroll] management_url: write it as https://user:password@host:15671'
            )
        host = parts.netloc.rpartition('@')[2]
        self._where = host
        self._base = f'{parts.scheme}://{host}{parts.path.rstrip("/")}/api'
        self._session = requests.Session()
        # Not what a .netrc or a proxy of the environment would make of it.
        self._session.trust_env = False
        self._session.auth = (
            urllib.parse.unquote(parts.username or 'guest'),
            urllib.parse.unquote(parts.password or 'guest'),
        )
        # requests has authorities of its own, which need not be the system's.
        system = ssl.get_default_verify_paths()
        self._session.verify = ca_file or system.cafile or system.capath or True
        self.user = self._session.auth[0]

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def get(self, *path: str) -> Any:
        """Return what is there; ``None``: nothing is.

        :raises guestagent.errors.Transient: the broker does not answer.
        :raises guestagent.errors.ConfigError: it does not let us in.
        :raises guestagent.errors.Refused: it will not.
        """
        return self._request('GET', path)

    def put(self, *path: str, **fields: Any) -> None:
        """Make something, or make it so; raises as :meth:`get`."""
        self._request('PUT', path, fields)

    def post(self, *path: str, **fields: Any) -> None:
        """Make one more; raises as :meth:`get`."""
        self._request('POST', path, fields)

    def delete(self, *path: str) -> bool:
        """Delete something; return whether it was there.  Raises as :meth:`get`."""
        return self._request('DELETE', path) is not None

    def _request(
        self,
        method: str,
        path: tuple[str, ...],
        fields: Mapping[str, Any] | None = None,
    ) -> Any:
        parts = [urllib.parse.quote(part, safe='') for part in path]
        try:
            answer = self._session.request(
                method, '/'.join([self._base, *parts]), json=fields, timeout=_TIMEOUT
            )
        except requests.RequestException as error:
            raise errors.Transient(
                f"RabbitMQ's HTTP API at {self._where} does not answer, see [enroll] "
                f'management_url: {_reason(error)}'
            ) from None
        if answer.status_code == 404 and method in ('GET', 'DELETE'):
            return None
        if answer.status_code in (401, 403):
            raise errors.ConfigError(
                f"RabbitMQ's HTTP API at {self._where} does not let {self.user!r} do "
                f'this: is the password in [enroll] management_url right, and has it '
                f'the tag administrator?'
            )
        if not answer.ok:
            raise errors.Refused(
                f"RabbitMQ's HTTP API at {self._where} refuses {method} "
                f'{"/".join(path)}: {_told(answer)}'
            )
        return answer.json() if method == 'GET' else {}


def password_hash(password: str) -> str:
    """Return what the broker keeps of a password: it never sees the password itself."""
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()


def _told(answer: requests.Response) -> str:
    try:
        fields = answer.json()
        return str(fields.get('reason') or fields)
    except (ValueError, AttributeError):
        return f'HTTP {answer.status_code}'


def _reason(error: requests.RequestException) -> str:
    """Return what is at the bottom of an error: the rest names the request again."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, 'reason', None) or inner
    return ' '.join(str(reason).split()).rpartition('>: ')[2]
