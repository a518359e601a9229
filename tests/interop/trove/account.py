# SPDX-License-Identifier: Apache-2.0
"""A user's account in a real Swift, as Trove's API hands it on."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from devstack import swift


class Account:
    """One user's.

    :ivar port: where Trove and the guest find Swift: a test may put something between.
    """

    def __init__(self, server: swift.Swift) -> None:
        self._server = server
        self._url, self._token = server.token()
        self.port = server.port

    @property
    def url(self) -> str:
        """What the catalog says."""
        return self._url.replace(f':{self._server.port}/', f':{self.port}/')

    def context(self) -> dict[str, Any]:
        """Return what of a user's context leads to Swift."""
        endpoint = {'region': 'RegionOne', 'publicURL': self.url}
        return {
            'auth_token': self._token,
            'service_catalog': [
                {'type': 'object-store', 'name': 'swift', 'endpoints': [endpoint]}
            ],
        }

    def names(self, container: str) -> list[str]:
        """Return what is in a container; nothing, if there is none."""
        request = urllib.request.Request(
            f'{self._url}/{container}', headers={'X-Auth-Token': self._token}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode().split()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return []
