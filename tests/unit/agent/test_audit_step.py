# SPDX-License-Identifier: Apache-2.0
"""What becomes a record on the way of a request through the dispatcher."""

import json
import threading

import pytest

from guestagent import errors, extension
from guestagent.agent.steps import audit
from guestagent.testing import agent


class Changer(extension.Extension):
    """Does what audits should see."""

    @extension.command(mutates=True, sensitive=('password', 'return'))
    def change(
        self, context: extension.Context, text: str = '', password: str = ''
    ) -> str:
        return password

    @extension.command(mutates=True, timeout=0.2)
    def hang(self, context: extension.Context) -> None:
        done = threading.Event()
        context.on_cancel(done.set)
        done.wait(20)
        context.check()

    @extension.command(mutates=False)
    def look(self, context: extension.Context) -> None:
        return None


@pytest.fixture
def guest():
    options = {'seal': {'allow_plain': True}}
    with agent.Agent({'changer': Changer}, options=options) as made:
        yield made


def records(guest):
    lines = guest.call('agent.audit')['lines']
    found = [json.loads(line) for line in lines]
    return [record for record in found if 'command' in record]


def test_a_command_and_its_end(guest):
    guest.call('changer.change', {'text': 'x' * 2000, 'password': 'hunter2'})

    allowed, outcome = records(guest)

    assert allowed['kind'] == 'allowed'
    assert allowed['args']['password'] == audit.WITHHELD
    assert len(allowed['args']['text']) == audit.VALUE_MAX + len('...')
    assert (outcome['kind'], outcome['outcome']) == ('outcome', 'withheld')
    assert outcome['id'] == allowed['id']
    assert 'hunter2' not in str(guest.call('agent.audit'))


def test_what_only_reads_is_not_recorded(guest):
    guest.call('changer.look')

    assert records(guest) == []


def test_a_command_past_its_time_has_one_end(guest):
    with pytest.raises(errors.CommandTimeout):
        guest.call('changer.hang')

    guest.wait(lambda: len(records(guest)) >= 2)
    assert [(one['kind'], one.get('error')) for one in records(guest)] == [
        ('allowed', None),
        ('outcome', 'timeout'),
    ]


def test_a_refusal_says_why_and_no_value(guest):
    with pytest.raises(TypeError):
        guest.call('changer.change', {'text': ['hunter2']})

    guest.wait(lambda: records(guest))
    [refused] = records(guest)
    assert (refused['kind'], refused['error']) == ('refused', 'TypeError')
    assert 'must be str' in refused['reason']
    assert 'hunter2' not in str(refused)


def test_a_heartbeat_says_where_the_log_ends(guest):
    guest.wait(lambda: guest.conductor.heartbeat)

    assert guest.conductor.heartbeat['audit'].keys() == {'length', 'head'}


def test_an_offset_below_zero(guest):
    with pytest.raises(errors.InvalidArgument, match='below 0'):
        guest.call('agent.audit', {'offset': -1})
