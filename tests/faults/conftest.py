# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the functional tests, and those of both buses."""

import shutil

import pytest

from guestagent import client
from tests.functional import hubs
from tests.functional.conftest import (  # noqa: F401 (fixtures)
    PROBE,
    agent,
    conductor,
    connect,
    new_vhost,
    publisher,
    query,
    rabbit,
    vhosts,
)

needs_strace = pytest.mark.skipif(
    shutil.which('strace') is None, reason='needs strace: apt-get install strace'
)


@pytest.fixture(params=['rabbit', 'channel'])
def bus_url(request, tmp_path, children):
    """The transport URL of a bus of this test's own; of either kind in turn."""
    if request.param == 'rabbit':
        new_vhost = request.getfixturevalue('new_vhost')
        return new_vhost()
    made = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(made)
    return made.url


@pytest.fixture
def guests(bus_url):
    with client.Client(url=bus_url, caller='tester') as made:
        yield made


@pytest.fixture
def marks(tmp_path):
    """``marks()``: what the commands have written."""
    path = tmp_path / 'marks'
    return lambda: path.read_text().split() if path.exists() else []
