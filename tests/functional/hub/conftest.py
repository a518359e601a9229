# SPDX-License-Identifier: Apache-2.0
"""A hub with one guest that is known, and who talks to it."""

import pytest

from tests.functional import hubs


@pytest.fixture
def hub(tmp_path, children):
    made = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(made)
    return made


@pytest.fixture
def program(hub):
    with hubs.Peer(hub.folder / 'programs.sock') as peer:
        yield peer


@pytest.fixture
def guest(hub):
    with hubs.Peer(hub.guest_socket('vm-1'), 'guest') as peer:
        yield peer
