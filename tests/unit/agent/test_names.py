# SPDX-License-Identifier: Apache-2.0
"""A caller on the bus who has the name of a channel."""

import json
import os
import time

import pytest

from guestagent import errors, extension
from guestagent.agent import channels
from guestagent.seal import caller, keys
from guestagent.testing import agent

CHANNELS = {'DEFAULT': {'enabled_channels': ['lines']}}
HERE = r"'lines' is the name of a channel of this guest .* use another name"


class Owners(extension.Extension):
    """Tells whose it would be what is kept for a caller."""

    @extension.command(mutates=True)
    def tell(self, context: extension.Context) -> str:
        return context.owner


def refusals(guest):
    records = [json.loads(line) for line in guest.call('agent.audit')['lines']]
    return [record for record in records if record['kind'] == 'refused']


@pytest.fixture
def guest():
    with agent.Agent({'owners': Owners}, options=CHANNELS) as made:
        yield made


def test_is_refused_and_the_audit_log_says_why(guest):
    with pytest.raises(errors.Refused, match=HERE):
        guest.call('owners.tell', caller='lines')
    assert guest.call('owners.tell', caller='lines2') == 'plain:lines2'

    guest.wait(lambda: refusals(guest))
    [refused] = refusals(guest)
    assert (refused['caller'], refused['error']) == ('lines', 'refused')
    assert 'is the name of a channel' in refused['reason']


def test_is_the_channels_where_it_comes_in_by_that(guest):
    service = guest._service
    host = channels._Host(
        'lines', guest._loop, service.dispatcher, service.registry, ''
    )
    answers = []

    host.submit('owners', 'tell', {}, lambda *answer: answers.append(answer))

    guest.wait(lambda: answers)
    assert answers == [('lines', None)]


@pytest.mark.parametrize('name', ['lines', 'nova'])
def test_is_refused_though_it_is_proven(tmp_path, name):
    line = keys.Line(keys.COMMANDS, name, True, os.urandom(32))
    path = tmp_path / 'keys'
    path.write_text(f'{line.derive("vm-1")}\n')
    path.chmod(0o600)
    options = {**CHANNELS, 'seal': {'key_file': str(path), 'allow_plain': False}}
    sealer = caller.Caller(keys.MasterRing([line], keys.COMMANDS))

    with agent.Agent({'owners': Owners}, options=options, instance='vm-1') as guest:
        sent = sealer.seal(
            'vm-1', 'owners', 'tell', '1.0', {}, {}, 'c-1',
            waits=True, lifetime=60, now=time.time(),
        )  # fmt: skip
        result, failure = sealer.open(
            sent, guest.call('sealed.invoke', {'value': sent.value})
        )

    if name == 'nova':
        assert (result, failure) == ('nova', None)
    else:
        assert result is None
        assert failure['class'] == 'Refused'
        assert 'is the name of a channel' in failure['message']


def test_is_any_callers_where_there_is_no_such_channel():
    with agent.Agent({'owners': Owners}) as guest:
        assert guest.call('owners.tell', caller='lines') == 'plain:lines'
