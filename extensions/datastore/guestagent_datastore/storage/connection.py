# SPDX-License-Identifier: Apache-2.0
"""HTTP as object storages speak it: one connection, and bodies that are streams."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping

from guestagent import errors
from guestagent_datastore.storage import base

#: How long the server may be silent, in seconds.
SILENCE = 60.0
#: How much of what a server says about an error is repeated, in characters.
WORDS = 200


class Failed(errors.StorageError):
    """The server answered with an error.

    :ivar status: HTTP's.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """A connection to one account of a storage, made again when it was lost."""

    def __init__(self, target: base.Target) -> None:
        found = urllib.parse.urlsplit(target.url)
        if found.scheme not in ('http', 'https') or not found.hostname:
            raise errors.InvalidArgument(
                f'storage: {target.url!r} is no http: or https: URL'
            )
        self._root = found.path.rstrip('/')
        self._token = target.token
        if found.scheme == 'http':
            self._http = http.client.HTTPConnection(
                found.hostname, found.port, timeout=SILENCE
            )
        else:
            self._http = http.client.HTTPSConnection(
                found.hostname, found.port, timeout=SILENCE, context=_trust(target)
            )

    def close(self) -> None:
        """Close it; the next request opens another."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        query: str = '',
        headers: Mapping[str, str] | None = None,
        body: bytes = b'',
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request; return the answer's headers, by small names, and its body.

        It must be one that may be repeated.

        :raises Failed: the server refused it.
        :raises guestagent.errors.StorageError: there is no answer.
        """
        again = self._http.sock is not None
        try:
            return self._request(method, path, query, headers or {}, body)
        except Failed:
            raise
        except errors.StorageError:
            if not again:
                raise
        # The server may have closed what was open since the request before.
        return self._request(method, path, query, headers or {}, body)

    def _request(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[Mapping[str, str], bytes]:
        what = f'{method} {path}'
        length = {'Content-Length': str(len(body))}
        self._begin(what, method, path, query, {**headers, **length})
        try:
            if body:
                self._http.send(body)
        except OSError:
            pass  # it may have answered before it had read all
        answer = self._answer(what)
        return _headers(answer), self._read(what, answer)

    def info(self) -> bytes:
        """Return what Swift says of itself; empty where it says nothing.

        :raises guestagent.errors.StorageError: there is no answer.
        """
        root, self._root = self._root, ''
        try:
            return self.request('GET', '/info')[1]
        except Failed:
            return b''
        finally:
            self._root = root

    def read(self, path: str) -> Iterator[bytes]:
        """Give what an object holds.

        :raises guestagent.errors.StorageError: it ended too early, or is not there.
        """
        what = f'GET {path}'
        self.close()
        self._begin(what, 'GET', path, '', {})
        answer = self._answer(what)
        try:
            while chunk := answer.read(base.CHUNK):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise _lost(what, error) from None
        finally:
            if not answer.isclosed():
                self.close()
        if answer.length:
            raise errors.StorageError(f'{what}: the connection ended in the middle')

    def upload(self, path: str) -> Upload:
        """Begin an object whose length nobody knows."""
        what = f'PUT {path}'
        self.close()
        self._begin(what, 'PUT', path, '', {'Transfer-Encoding': 'chunked'})
        return Upload(self, what)

    def _begin(
        self, what: str, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> None:
        url = self._root + urllib.parse.quote(path) + (query and f'?{query}')
        try:
            self._http.putrequest(method, url, skip_accept_encoding=True)
            if self._token:
                self._http.putheader('X-Auth-Token', self._token)
            for name, value in headers.items():
                self._http.putheader(name, value)
            self._http.endheaders()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise _lost(what, error) from None

    def _send(self, what: str, data: bytes) -> None:
        try:
            self._http.send(data)
        except OSError as error:
            # It may have said why, a moment before it went away.
            try:
                self._answer(what)
            except Failed:
                raise
            except errors.StorageError:
                pass
            self.close()
            raise _lost(what, error) from None

    def _answer(self, what: str) -> http.client.HTTPResponse:
        try:
            answer = self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _lost(what, error) from None
        if answer.status >= 300:
            words = self._read(what, answer).decode(errors='replace')
            raise Failed(
                f'{what}: {answer.status} {answer.reason}'
                f'{_explain(answer.status, words)}',
                answer.status,
            )
        return answer

    def _read(self, what: str, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _lost(what, error) from None


class Upload:
    """The body of a PUT, chunk by chunk."""

    def __init__(self, connection: Connection, what: str) -> None:
        self._connection = connection
        self._what = what

    def write(self, data: bytes) -> None:
        """Send some of it.

        :raises guestagent.errors.StorageError: the connection was cut.
        """
        if data:
            self._connection._send(self._what, b'%x\r\n%b\r\n' % (len(data), data))

    def finish(self) -> Mapping[str, str]:
        """End it; return the answer's headers.

        :raises guestagent.errors.StorageError: it was refused, or not answered.
        """
        self._connection._send(self._what, b'0\r\n\r\n')
        answer = self._connection._answer(self._what)
        self._connection._read(self._what, answer)
        return _headers(answer)


def _trust(target: base.Target) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
    except OSError as error:
        raise errors.ConfigError(
            f'storage: {target.ca_file}: {error.strerror or error}'
        ) from None
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _headers(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _lost(what: str, error: Exception) -> errors.StorageError:
    reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return errors.StorageError(f'{what}: no answer: {reason}')


def _explain(status: int, words: str) -> str:
    """Return what helps to understand a refusal."""
    if status in (401, 403):
        return ': the token is not valid (any more), or has no right to this'
    if status == 507:
        return ': the storage is full'
    text = ' '.join(words.split())[:WORDS]
    return f': {text}' if text and '<' not in text else ''
