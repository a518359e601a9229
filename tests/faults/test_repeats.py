# SPDX-License-Identifier: Apache-2.0
"""Every request comes twice, late and in another order, through a real broker."""

import random

import pytest

from devstack import processes
from guestagent.bus import topics
from tests.functional import raw

pytestmark = pytest.mark.functional

COMMANDS = 30
#: It never says that it is busy.
PATIENT = {'dispatcher': {'backlog': 1000}}


@pytest.fixture
def bus_url(new_vhost):
    return new_vhost()


def request(number, sending, reply_queue):
    """Return a request; each ``sending`` of it has a ``_unique_id`` of its own."""
    return {
        'namespace': 'probe',
        'method': 'mark',
        'args': {'text': f'id-{number}', 'seconds': 0.05 * (number % 3)},
        f'_context_{topics.CONTEXT_COMMAND_ID}': f'id-{number}',
        f'_context_{topics.CONTEXT_CALLER}': 'me',
        '_msg_id': f'{number}.{sending}',
        '_reply_q': reply_queue,
        '_unique_id': f'{number:016}{sending:016}',
    }


@pytest.mark.parametrize('kill', [False, True])
def test_each_command_runs_once_and_each_sending_has_its_answer(
    agent, bus_url, marks, kill
):
    child = agent('vm-1', extensions='probe', options=PATIENT)
    dice = random.Random(7)
    with raw.RawClient(bus_url) as caller:
        sendings = [
            request(number, sending, caller.reply_queue)
            for number in range(COMMANDS)
            for sending in (1, 2, 3)
        ]
        dice.shuffle(sendings)
        for message in sendings:
            caller.send('guestagent.vm-1', message)
            if dice.random() < 0.2:
                # The very same sending once more, as a broker's redelivery.
                caller.send('guestagent.vm-1', message)
        if kill:
            processes.wait_for(lambda: len(marks()) >= COMMANDS // 3, 'some have run')
            child.kill()
            agent('vm-1', extensions='probe', options=PATIENT)
            for message in sendings:
                caller.send(
                    'guestagent.vm-1', {**message, '_unique_id': again(message)}
                )
        answers = collect(caller, {message['_msg_id'] for message in sendings})

    assert set(marks()) <= {f'id-{number}' for number in range(COMMANDS)}
    assert len(marks()) == len(set(marks())), 'one ran twice'
    for number in range(COMMANDS):
        said = {answers[f'{number}.{sending}'] for sending in (1, 2, 3)}
        assert len(said) == 1, f'the answers to one command differ: {said}'
        if not kill:
            assert said.pop().isdecimal()


def again(message):
    return '9' + message['_unique_id'][1:]


def collect(caller, wanted):
    """Return the first answer to each sending: its result, or that it failed."""
    answers = {}
    while wanted - set(answers):
        reply = caller.receive(60)
        assert reply is not None, f'no answer to {sorted(wanted - set(answers))}'
        if reply['ending']:
            text = 'failed' if reply['failure'] else str(reply['result'])
            answers.setdefault(reply['_msg_id'], text)
    return answers
