# SPDX-License-Identifier: Apache-2.0
"""The same requests over each bus, the same answers.

What differs by design is in doc/wire.rst, section 10, and is excepted here by name.
"""

import json
import uuid

import pytest

from devstack import processes
from tests.functional.buses import messages
from tests.functional.buses.messages import request, visible

pytestmark = pytest.mark.functional


def answers_of(guests, message):
    """Return what a client sees of each bus's answer to a call."""
    return {bus: visible(guest.call(message)) for bus, guest in guests.items()}


@pytest.mark.parametrize('name', messages.ANSWERED)
def test_the_same_result(guests, name):
    message, result = messages.ANSWERED[name]
    wanted = json.dumps([result, None, True])

    answers = answers_of(guests, message)

    assert answers == dict.fromkeys(guests, (wanted, None))


@pytest.mark.parametrize('name', messages.REFUSED)
def test_the_same_refusal(guests, name):
    message, error = messages.REFUSED[name]

    answers = answers_of(guests, message)

    assert len({text for text, _ in answers.values()}) == 1
    failure = json.loads(answers['amqp'][0])[1]
    assert failure['class'] == error
    # By design: the library writes the error's own line where we write nothing.
    where = '' if failure['module'] == 'builtins' else failure['module'] + '.'
    line = f'{where}{error}: {failure["message"]}\n'
    traces = {bus: trace for bus, (_, trace) in answers.items()}
    assert traces == {'amqp': [], 'channel': [], 'reference': [line]}


@pytest.mark.parametrize(
    ('kind', 'error'), [('builtin', 'LookupError'), ('odd', 'Odd')]
)
def test_the_same_failure_of_an_extension_with_its_traceback(guests, kind, error):
    answers = answers_of(guests, messages.fail(kind))

    text, trace = answers['amqp']
    assert answers == dict.fromkeys(guests, (text, trace))
    assert json.loads(text)[1]['class'] == error
    assert 'in fail' in ''.join(trace)


@pytest.mark.parametrize('name', messages.CONTEXTS)
def test_the_same_context(guests, name):
    context = messages.CONTEXTS[name]
    message = request(method='seen', _unique_id=uuid.uuid4().hex)
    message |= {f'_context_{key}': value for key, value in context.items()}

    answers = answers_of(guests, message)

    assert answers == dict.fromkeys(guests, answers['amqp'])
    assert json.loads(answers['amqp'][0])[0]['values'] == context


@pytest.mark.parametrize('key', ['msg_id', 'reply_q', 'client_timeout'])
def test_context_keys_that_the_library_takes(guests, key):
    message = request(method='seen', **{f'_context_{key}': 'mine'})

    seen = {bus: guests[bus].call(message)['result']['values'] for bus in guests}

    assert seen == {'amqp': {key: 'mine'}, 'channel': {key: 'mine'}, 'reference': {}}


@pytest.mark.parametrize(
    'context',
    [{'_context_self': 'mine'}, {'_context_tree': messages.deep(700)}],
    ids=['a key', 'a depth'],
)
def test_a_context_that_the_library_does_not_survive(guests, context):
    message = request(**context)

    assert guests['amqp'].call(message)['ending']
    assert guests['channel'].call(message)['ending']
    guests['reference'].send_call(message)
    guests['reference'].assert_next_answer_is_of_a_good_request()


@pytest.mark.parametrize('name', messages.UNREADABLE)
def test_what_is_no_message_gets_no_answer_and_does_no_harm(guest, name):
    guest.send(messages.UNREADABLE[name](guest.client))

    guest.assert_next_answer_is_of_a_good_request()
    assert guest.client.depth(guest.topic) == 0


@pytest.mark.parametrize('name', messages.ODD_BODIES)
@pytest.mark.parametrize(
    'wrap', [messages.enveloped, str.encode], ids=['enveloped', 'bare']
)
def test_odd_json_that_can_be_read(guests, name, wrap):
    body, value = messages.ODD_BODIES[name]
    answers = []
    for guest in guests.values():
        guest.send(wrap(messages.asking(guest.client, body)))
        answers.append(visible(guest.client.receive(60)))

    assert answers == [answers[0]] * len(guests)
    result = json.loads(answers[0][0])[0]
    assert result != result if value is None else result == value


def test_the_same_reports(guests):
    context = {'_context_guestagent_command_id': 'r1'}
    seen = {}

    def look():
        for report in (
            *guests['amqp'].client.reports(),
            *guests['channel'].client.reports(),
        ):
            payload = report['payload']
            if payload['kind'] == 'outcome' and payload['data']['command_id'] == 'r1':
                seen[payload['instance']] = report
        return len(seen) == len(guests)

    for guest in guests.values():
        guest.send(request(method='mark', args={'text': 'cast'}, **context))
    processes.wait_for(look, 'an outcome from each')
    reports = [seen[guest.agent.instance] for guest in guests.values()]
    assert len({tuple(sorted(report)) for report in reports}) == 1
    assert len({tuple(sorted(report['payload'])) for report in reports}) == 1
    data = [report['payload']['data'] for report in reports]
    for item in data:
        assert item.pop('seconds') >= 0
        assert item.pop('started') > 0
        assert item.pop('result') > 0
    assert data == [data[0]] * len(guests)
