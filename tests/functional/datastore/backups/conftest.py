# SPDX-License-Identifier: Apache-2.0
"""A real Swift, one for each test worker, and a container of its own for each test."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from guestagent_datastore.storage import base
from guestagent_datastore.storage import swift as storages

from devstack import swift as servers

_numbers = itertools.count(1)


class Place:
    """A container of Swift.

    :ivar target: of a storage; segments of 1 MiB.
    :ivar server: the Swift.
    """

    def __init__(self, server: servers.Swift) -> None:
        self.server = server
        url, token = server.token()
        self.target = base.Target(
            'swift', url, f'test-{next(_numbers)}', token, segment_size=1024**2
        )

    def storage(self, **changes: Any) -> storages.Swift:
        """Return the storage, with some of the target changed."""
        return storages.Swift(dataclasses.replace(self.target, **changes))

    def names(self) -> list[str]:
        """What is in the container."""
        return self.storage().names('')

    def given(self, port: int | None = None) -> dict[str, str]:
        """The target as callers give it; through another port if there is one."""
        url = self.target.url.replace(
            f':{self.server.port}/', f':{port or self.server.port}/'
        )
        return {
            'url': url,
            'token': self.target.token,
            'container': self.target.container,
        }


@pytest.fixture(scope='session')
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Swift]:
    server = servers.Swift(tmp_path_factory.mktemp('swift'))
    yield server
    server.stop()


@pytest.fixture
def swift(swift_server: servers.Swift) -> Place:
    return Place(swift_server)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of the storage ``file``."""
    made = tmp_path / 'share'
    made.mkdir()
    return made
