# SPDX-License-Identifier: Apache-2.0
"""An agent on a bus that loses, repeats, delays and reorders: its rules as properties.

The bus is that of :mod:`guestagent.testing`, in this process; the journal and the spool
are real files, and the agent is killed and started again between.
"""

import collections
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent import errors, extension
from guestagent.testing import agent as agents
from guestagent.testing import fates

#: What becomes of one message after the other.
FATES = st.lists(
    st.sampled_from([fates.PASS, fates.LOSE, fates.REPEAT, fates.HOLD]), max_size=12
)
REFUSALS = st.lists(
    st.sampled_from(
        [fates.PASS, fates.LOSE, fates.REPEAT, fates.HOLD, fates.RETURN, fates.REJECT]
    ),
    max_size=12,
)
COMMANDS = [f'id-{number}' for number in range(4)]


class Counter(extension.Extension):
    """Counts how often each command ran, and tells of it."""

    ran: collections.Counter = collections.Counter()

    @extension.command(mutates=True)
    def count(self, context: extension.Context, text: str) -> str:
        """Count."""
        self.ran[text] += 1
        self.report_event('counted', {'text': text})
        return text


def insist(guest, command_id):
    """Send a call with one id until an answer arrives."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            return guest.call(
                'counter.count', {'text': command_id}, caller='me',
                command_id=command_id, seconds=0.3,
            )  # fmt: skip
        except (TimeoutError, errors.Transient):
            continue
    raise AssertionError(f'{command_id} is never answered')


def is_known(conductor):
    """Whether all that ran has been reported."""
    told = {event['data']['text'] for event in conductor.events}
    ended = {one['command_id'] for one in conductor.outcomes}
    return told >= set(Counter.ran) and ended >= {'cast'} & set(Counter.ran)


@settings(max_examples=15, deadline=None)
@given(requests=FATES, replies=FATES, reports=REFUSALS, restart=st.booleans())
def test_each_command_runs_once_and_each_report_counts_once(
    tmp_path_factory, requests, replies, reports, restart
):
    Counter.ran.clear()
    folder = str(tmp_path_factory.mktemp('state'))
    kinds = {'counter': Counter}
    options = {'reports': {'splay': 0.0}}
    with agents.Agent(kinds, options=options, state_dir=folder) as guest:
        guest.bus.requests.script = iter(requests)
        guest.bus.replies.script = iter(replies)
        guest.bus.reports.script = iter(reports)
        guest.cast('counter.count', {'text': 'cast'}, caller='me', command_id='cast')
        for command_id in COMMANDS:
            assert insist(guest, command_id) == command_id
        conductor = guest.conductor
        if not restart:
            guest.wait(lambda: is_known(conductor), what='the reports')
    if restart:
        with agents.Agent(
            kinds, options=options, state_dir=folder, conductor=conductor
        ) as guest:
            for command_id in reversed(COMMANDS):
                assert insist(guest, command_id) == command_id
            guest.wait(lambda: is_known(conductor), what='the reports')

    assert set(Counter.ran.values()) == {1}
    told = [event['data']['text'] for event in conductor.events]
    assert sorted(told) == sorted(Counter.ran), 'an event is lost, or there twice'
    outcomes = [one['command_id'] for one in conductor.outcomes]
    assert outcomes.count('cast') == Counter.ran['cast']
