# SPDX-License-Identifier: Apache-2.0
"""A hub, the agent of its one guest, and programs."""

import pathlib

import oslo_messaging
import pytest
from oslo_config import cfg

from devstack import stack
from tests.functional import hubs

PROBE = pathlib.Path(__file__).parents[1] / 'probe'


@pytest.fixture
def hub(tmp_path, children):
    made = hubs.Hub(tmp_path, '--guest', 'vm-1')
    children.append(made)
    return made


@pytest.fixture
def marks(tmp_path):
    path = tmp_path / 'marks'

    def read():
        return path.read_text().split() if path.exists() else []

    return read


@pytest.fixture
def start_agent(hub, tmp_path, children):
    def start(**options):
        child = stack.Agent(
            tmp_path,
            hub.url,
            'vm-1',
            {
                'DEFAULT': {'enabled_extensions': 'probe'},
                'probe': {'marks': tmp_path / 'marks'},
                **options,
            },
            PROBE,
        )
        children.append(child)
        child.wait_line('connected to the hub at ')
        return child

    return start


@pytest.fixture
def transport(hub):
    cfg.CONF([])
    made = oslo_messaging.get_rpc_transport(
        cfg.CONF, hub.url, allowed_remote_exmods=['guestagent.errors']
    )
    yield made
    made.cleanup()


@pytest.fixture
def probe(transport):
    target = oslo_messaging.Target(
        exchange='guestagent', topic='guestagent.vm-1', namespace='probe'
    )
    return oslo_messaging.get_rpc_client(transport, target, timeout=60)


@pytest.fixture
def program(hub):
    with hubs.Peer(hub.folder / 'programs.sock') as peer:
        yield peer
