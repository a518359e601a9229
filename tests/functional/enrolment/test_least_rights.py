# SPDX-License-Identifier: Apache-2.0
"""A guest whose agent is not root gets its keys, changes them, and is cut off."""

import os
import pathlib
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator

import pytest

from devstack import processes, stack
from guestagent import client
from tests.functional import unprivileged
from tests.functional.enrolment import conftest
from tests.functional.enrolment.conftest import Bed

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user'),
]

UID = pwd.getpwnam(unprivileged.AGENT).pw_uid


@pytest.fixture
def tmp_path() -> Iterator[pathlib.Path]:
    """A folder that other users can get into, other than pytest's own."""
    made = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-enrolment-'))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def owned(child: stack.Agent, *names: str) -> bool:
    """Whether files are the agent's own, and nobody else can read them."""
    found = [(child.state / name).stat() for name in ('', *names)]
    return all(
        one.st_uid == UID and stat.S_IMODE(one.st_mode) & 0o077 == 0 for one in found
    )


def test_an_agent_that_is_not_root_enrols_rotates_and_is_cut_off(
    bed: Bed, nova: Callable[..., client.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    unprivileged.install(bed.folder, monkeypatch)
    daemon = bed.conductor()
    # Given a token that only root can read, in a folder that is root's,
    child = bed.agent(
        'vm-a',
        DEFAULT={'user': unprivileged.AGENT, 'enabled_extensions': 'probe'},
        probe={'marks': '/dev/null'},
    )
    child.wait_line('waiting for a token in ')
    token = bed.token_file('vm-a')
    bed.give_token('vm-a', bed.token('vm-a', '--model', 'exchange'))

    # when it is exchanged, then by who is not root any more.
    child.wait_line('is enrolled')
    child.wait_line('connected to RabbitMQ')
    assert unprivileged.field(child.pid, 'Uid') == [str(UID)] * 4
    assert not token.exists()
    assert not (child.state / 'token').exists()
    assert owned(child, 'keys', 'enrolled')
    assert nova().call('vm-a', 'probe.echo', {'value': 1}, timeout=60) == 1
    processes.wait_for(lambda: bed.state_of('vm-a') == 'UP', 'the conductor knows it')

    # Other keys come: they are written by the same user, and found at the next start.
    new = conftest.NOVA._replace(secret=os.urandom(32))
    path = conftest.write_keys(bed.folder / 'new.keys', new)
    bed.done(
        *('--key-file', bed.nova, 'instance', 'rotate', 'vm-a', path),
        *(bed.conductor_keys, '--overlap', '600'),
    )
    assert owned(child, 'keys', 'enrolled')
    child.stop()
    again = bed.agent(
        'vm-a',
        DEFAULT={'user': unprivileged.AGENT, 'enabled_extensions': 'probe'},
        probe={'marks': '/dev/null'},
    )
    again.wait_line('connected to RabbitMQ')
    assert owned(again, 'keys', 'enrolled')
    with client.Client(
        url=f'{bed.bus_url}?amqp_durable_queues=true', key_file=path
    ) as caller:
        assert caller.call('vm-a', 'probe.echo', {'value': 2}, timeout=60) == 2

    # It is cut off as any other.
    bed.done('instance', 'revoke', 'vm-a')
    again.wait_line('ACCESS_REFUSED|refused')
    processes.wait_for(
        lambda: 'instance.revoked' in bed.events('vm-a'), 'the event is there'
    )
    assert daemon.running
