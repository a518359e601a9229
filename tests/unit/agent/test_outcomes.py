# SPDX-License-Identifier: Apache-2.0
"""An outcome that was described and revived is answered as it would have been."""

import json

import pytest

from guestagent import errors, extension
from guestagent.agent import outcomes, registry
from guestagent.agent import request as requests
from guestagent.bus import envelope


class Odd(Exception):
    """An error of an extension's own."""


def made(sensitive=()):
    request = requests.Request(
        'probe', 'mark', '1.0', {'text': 'a'}, caller='me', command_id='id',
        id_given=True, values={}, door=requests.Door(),
    )  # fmt: skip
    request.command = registry.Command(
        'mark',
        lambda context: None,
        extension.CommandInfo(True, None, False, frozenset(sensitive)),
    )
    return request


def revived(request, outcome):
    """Carry an outcome through JSON and back."""
    data, failure = json.loads(
        json.dumps(
            [outcomes.describe(request, outcome), outcomes.describe_failure(outcome)]
        )
    )
    return outcomes.revive(data, failure)


def test_a_result_comes_back():
    outcome = revived(made(), requests.Outcome(requests.DONE, {'a': [1, None, 'ü']}))

    assert outcome.status == requests.DONE
    assert outcome.result == {'a': [1, None, 'ü']}
    assert outcome.error is None


@pytest.mark.parametrize(
    'error',
    [
        errors.InvalidArgument('no sense'),
        errors.CommandTimeout('too late'),
        KeyError('nothing there'),
        Odd('odd', 3),
        UnicodeDecodeError('utf-8', b'x', 0, 1, 'why'),
    ],
)
def test_an_error_is_answered_as_the_first_time(error):
    outcome = revived(made(), requests.Outcome(requests.FAILED, error=error))

    assert outcome.status == requests.FAILED
    assert envelope.describe(outcome.error) == envelope.describe(error)


def test_of_a_secret_result_only_that_there_was_one():
    request = made(sensitive=('return',))
    data = outcomes.describe(request, requests.Outcome(requests.DONE, 'hunter2'))

    assert 'hunter2' not in json.dumps(data)
    assert data['outcome'] == requests.WITHHELD


@pytest.mark.parametrize(
    ('result', 'kind'),
    [({1, 2}, errors.BadResult), ('x' * outcomes.RESULT_MAX, errors.ResultTooLarge)],
)
def test_a_result_that_cannot_be_kept_is_an_error_for_repeats(result, kind):
    outcome = revived(made(), requests.Outcome(requests.DONE, result))

    assert outcome.status == requests.DONE
    assert type(outcome.error) is kind


def test_a_result_may_be_left_out_and_that_is_said():
    data = outcomes.describe(made(), requests.Outcome(requests.DONE, 'long'))

    left = outcomes.shortened(data, 'the disk is full')

    assert left['result'] is None
    assert left['error']['message'] == 'the disk is full'
    assert type(outcomes.revive(left, None).error) is errors.ResultTooLarge
