# SPDX-License-Identifier: Apache-2.0
"""A MariaDB server under a real agent that is killed."""

from __future__ import annotations

import os
import pathlib
import select
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from guestagent_datastore import holders

from devstack import processes, stack
from guestagent import client, errors
from tests.functional.datastore import conftest as guests

pytestmark = pytest.mark.functional


@pytest.fixture
def guest() -> Iterator[guests.Guest]:
    """Folders for a server; what is left in them is ended."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-datastore-'))
    folder.chmod(0o755)
    made = guests.Guest(folder, 'mariadb')
    yield made
    made.start()
    made.remove()


@pytest.fixture(params=[False, True], ids=['inside', 'isolated'])
def start(
    request: pytest.FixtureRequest,
    agent: Callable[..., stack.Agent],
    conductor: Callable[..., Any],
    guest: guests.Guest,
) -> Callable[[], stack.Agent]:
    """``start()``: an agent on that guest, the same one each time."""
    conductor()
    options = {'datastore': {**guest.options, 'period': 0.5}}
    if request.param:
        # As the package has it.
        options['datastore'] |= {
            'isolate': True,
            'isolate_memory': 0,
            'isolate_cpu': 0,
            'isolate_idle': 0,
        }
    return lambda: agent('vm-1', options, extensions='datastore')


@pytest.fixture
def caller(bus_url: str) -> Iterator[client.Client]:
    with client.Client(url=bus_url, caller='tester') as made:
        yield made


def test_an_agent_that_is_killed(
    start: Callable[[], stack.Agent],
    caller: client.Client,
    guest: guests.Guest,
    guestctl: Callable[..., Any],
) -> None:
    """One test: each step needs the one before."""

    def call(verb: str, **arguments: Any) -> Any:
        return caller.call('vm-1', f'datastore.{verb}', arguments, timeout=240)

    # Killed while it prepares, between two files of the server's data.
    child = start()
    data = guest.folder / 'volume' / 'data'
    user = {'name': 'ann', 'password': 'hunter2'}
    wish = {'memory': 64, 'users': [user]}
    caller.cast('vm-1', 'datastore.prepare', wish, command_id='first')
    processes.wait_for(lambda: (data / 'ibdata1').exists(), 'the data is being made')
    # Reads do not wait for it.
    assert call('status')['operation']['name'] == 'prepare'
    child.kill()
    assert (guest.folder / 'volume' / 'guestagent' / 'incomplete').exists()

    child = start()
    assert caller.wait('vm-1', 'first', timeout=120)['outcome'] == 'interrupted'
    found = processes.wait_for(
        lambda: call('status')['interrupted'], 'it is found', 120
    )
    assert found['operation'] == 'prepare'
    assert 'deleted' in found['found']
    assert call('status')['state'] == 'new'
    assert not any(data.iterdir())
    assert not holders.find(guest.folder / 'state' / 'programs')

    # Once more; then the server outlives its agent.
    status = call('prepare', **wish)
    assert status['state'] == 'healthy'
    with pytest.raises(errors.GuestError):
        call('replication_detach')
    child.kill()
    child = start()
    assert call('status')['pid'] == status['pid']
    assert [user['name'] for user in call('user_list')['items']] == ['ann']

    # A crash of the server reaches the conductor.
    ended = os.pidfd_open(status['pid'])
    os.kill(status['pid'], signal.SIGKILL)
    select.select([ended], [], [], 60)
    os.close(ended)

    def told() -> bool:
        listed = guestctl('event', 'list', '--instance', 'vm-1', '-f', 'json').stdout
        return 'datastore.crashed' in listed and 'datastore.recovered' in listed

    processes.wait_for(told, 'the conductor knows of the crash', 120)
    assert call('status')['state'] == 'healthy'

    # Killed in the midst of a restart, wherever that is.
    caller.cast('vm-1', 'datastore.server_restart', command_id='again')
    processes.wait_for(
        lambda: (call('status')['operation'] or {}).get('name') == 'server_restart',
        'it is being started again',
        spacing=0.01,
    )
    child.kill()
    start()

    def recovered() -> bool:
        now = call('status')
        cut = now['interrupted'] or {}
        return cut.get('operation') == 'server_restart' and now['state'] == 'healthy'

    processes.wait_for(recovered, 'it serves again', 120)
