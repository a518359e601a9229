# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL servers that the engine itself makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.functional.datastore.postgresql import cluster


@pytest.fixture(scope='session')
def postgresql() -> Iterator[cluster.Cluster]:
    """One server for all tests that leave it as it was."""
    made = cluster.Cluster()
    try:
        made.make()
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
