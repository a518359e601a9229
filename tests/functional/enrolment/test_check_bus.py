# SPDX-License-Identifier: Apache-2.0
"""``guestagent --check-bus``: the same rights, seen from the guest."""

import subprocess
from collections.abc import Callable

import pytest

from devstack import stack
from guestagent import client
from tests.functional.enrolment.conftest import Bed

pytestmark = pytest.mark.functional


def check(child: stack.Agent) -> 'subprocess.CompletedProcess[str]':
    return subprocess.run(
        [stack.script('guestagent'), '--config-file', child.config, '--check-bus'],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize('model', ['shared', 'exchange', 'vhost'])
def test_what_a_guest_may_do(
    bed: Bed, nova: Callable[..., client.Client], model: str
) -> None:
    bed.conductor()
    child = bed.enrolled('vm-a', '--model', model)
    vhost = 'guestagent.vm-a' if model == 'vhost' else bed.vhost
    guests = nova(f'{bed.bus_url.rpartition("/")[0]}/{vhost}')
    assert guests.call('vm-a', 'probe.echo', {'value': 1}, timeout=60) == 1
    before = child.output()

    ended = check(child)

    said = ended.stdout.splitlines()
    for need in ('take requests from its queue', 'reply', 'report'):
        assert f'ok: may {need}' in said, ended
    verdict = {
        'shared': 'TOO MUCH: may {}',
        'exchange': 'ok: may not {}',
        'vhost': 'ok: may {}, in a virtual host where it is alone',
    }[model]
    for right in (
        "read other guests' queues",
        "delete other guests' queues",
        'make queues',
        'send requests to other guests',
        "have other guests' requests copied to it",
        'delete the exchange of requests',
        'delete the exchange of reports',
        'publish other things than reports to their exchange',
    ):
        assert verdict.format(right) in said
    assert ended.returncode == (model == 'shared')
    assert ('ok: may not enter the virtual host /' in said) == (model == 'vhost')
    # Nothing has changed, and the agent has noticed nothing.
    assert guests.call('vm-a', 'probe.echo', {'value': 2}, timeout=60) == 2
    assert child.output() == before
    queues = [one['name'] for one in bed.api.get('queues', vhost)]
    assert not [name for name in queues if 'check' in name]


def test_what_is_missing_is_said(bed: Bed) -> None:
    bed.conductor()
    child = bed.enrolled('vm-a', '--model', 'exchange')
    bed.api.put(
        *('permissions', bed.vhost, 'guestagent.vm-a'),
        configure='^$',
        write='^$',
        read='^guestagent\\.vm-a$',
    )

    ended = check(child)

    assert ended.returncode == 1
    assert 'MISSING: may not reply\n' in ended.stdout
    assert 'MISSING: may not report\n' in ended.stdout
    bed.done('instance', 'revoke', 'vm-a')
    ended = check(child)
    assert ended.returncode == 1
    assert 'the broker refuses the login' in ended.stderr
    assert ended.stderr.count('\n') == 1
