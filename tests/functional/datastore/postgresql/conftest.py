# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL servers that the engine itself makes."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.functional.datastore.postgresql import cluster


def _initialised() -> Iterator[pathlib.Path]:
    made = cluster.Cluster()
    try:
        made.engine.initialise()
        yield made.data
    finally:
        made.remove()


@pytest.fixture(scope='session')
def data() -> Iterator[pathlib.Path]:
    """The data of a new server, to copy: to make it takes seconds."""
    yield from _initialised()


@pytest.fixture(scope='session')
def other_data() -> Iterator[pathlib.Path]:
    """The data of a server that is not related to that one."""
    yield from _initialised()


@pytest.fixture(scope='module')
def postgresql(data: pathlib.Path) -> Iterator[cluster.Cluster]:
    """One server for the tests of a module."""
    made = cluster.Cluster()
    try:
        made.make(data)
        yield made
    finally:
        made.remove()


@pytest.fixture
def new_cluster() -> Iterator[Callable[[], cluster.Cluster]]:
    """``new_cluster()``: folders of the test's own, with no server yet."""
    made: list[cluster.Cluster] = []

    def make() -> cluster.Cluster:
        made.append(cluster.Cluster())
        return made[-1]

    yield make
    for one in made:
        one.remove()
