# SPDX-License-Identifier: Apache-2.0
"""What an agent does at its start with what a crash has left in its journal."""

import pathlib

import pytest

from guestagent import errors, extension
from guestagent.agent import recordfile
from guestagent.agent import request as requests
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import records, recovery, states
from guestagent.testing import agent as agents
from guestagent.testing import conductor as conductors
from tests.unit.agent.journals import accept, asked, command, done, finish


class Probe(extension.Extension):
    """Changes the guest, once or again."""

    runs: list[tuple[str, dict[str, object]]] = []
    cut: list[tuple[str, str]] = []

    def interrupted(self, method: str, command_id: str) -> None:
        """Note what was cut short."""
        self.cut.append((method, command_id))

    @extension.command(mutates=True, repeatable=True)
    def change(self, context: extension.Context, text: str) -> str:
        """Note that it ran."""
        self.runs.append((text, dict(context.values)))
        return text


class Changed(extension.Extension):
    """A later version of it, whose author thinks otherwise."""

    runs: list[tuple[str, dict[str, object]]] = []

    @extension.command(mutates=True)
    def change(self, context: extension.Context, text: str) -> str:
        """Note that it ran."""
        self.runs.append((text, {}))
        return text


class Owned(Probe):
    """Notes for whom it ran."""

    @extension.command(mutates=True, repeatable=True)
    def change(self, context: extension.Context, text: str) -> str:
        """Note that it ran."""
        self.runs.append((context.owner, {}))
        return text


@pytest.fixture(autouse=True)
def nothing_ran():
    Probe.runs.clear()
    Probe.cut.clear()
    Changed.runs.clear()


@pytest.fixture
def state(tmp_path):
    return tmp_path / 'state'


def left(state: pathlib.Path, story):
    """Write the journal that a crash leaves after ``story(journal)``."""
    state.mkdir(exist_ok=True)
    file = recordfile.RecordFile(str(state / 'journal'), records.KIND, records.VERSION)
    journal = journals.Journal(
        file, 'guest', states.Bounds(100, 10**6, 10**6), lambda *_: None
    )
    journal.open()
    story(journal)
    file.close()  # and no word to the journal


def started(state, kind=Probe):
    return agents.Agent({'probe': kind}, state_dir=str(state))


def outcomes(guest, count=1):
    guest.wait(lambda: len(guest.conductor.outcomes) >= count)
    return [
        (one['command_id'], one['outcome'], one['result'])
        for one in guest.conductor.outcomes
    ]


def test_what_may_not_run_again_is_interrupted_and_a_repeat_is_told(state):
    left(state, lambda journal: accept(journal, asked('a', 'once')))

    with started(state) as guest:
        assert outcomes(guest) == [('a', 'interrupted', None)]
        with pytest.raises(errors.Interrupted, match='went down before'):
            guest.call('probe.change', {'text': 'once'}, caller='me', command_id='a')
        status = guest.call('agent.status', {'command_id': 'a', 'caller': 'me'})
    assert status['state'] == 'interrupted'
    assert Probe.runs == []
    assert Probe.cut == [('change', 'a')]


def test_what_is_repeatable_runs_again_with_its_arguments_and_no_context(state):
    about = command(repeatable=True)
    left(state, lambda journal: accept(journal, asked('a', 'twice', about=about)))

    with started(state) as guest:
        assert outcomes(guest) == [('a', 'done', 'twice')]
        repeat = guest.call(
            'probe.change', {'text': 'twice'}, caller='me', command_id='a'
        )
        assert repeat == 'twice'
    assert Probe.runs == [('twice', {})]
    assert Probe.cut == []


@pytest.mark.parametrize(('proven', 'owner'), [(True, 'me'), (False, 'plain:me')])
def test_what_runs_again_is_its_callers_as_before(state, proven, owner):
    request = asked('a', about=command(repeatable=True))
    request.proven = proven
    left(state, lambda journal: accept(journal, request))

    with started(state, Owned) as guest:
        assert outcomes(guest) == [('a', 'done', '')]
    assert Probe.runs == [(owner, {})]


def test_what_a_journal_of_before_has_runs_again_as_if_unproven(state, monkeypatch):
    monkeypatch.setattr(
        records, '_dump', lambda value, dump=records._dump: dump(older(value))
    )
    request = asked('a', about=command(repeatable=True))
    request.proven = True
    left(state, lambda journal: accept(journal, request))
    monkeypatch.undo()

    with started(state, Owned) as guest:
        assert outcomes(guest) == [('a', 'done', '')]
    assert Probe.runs == [('plain:me', {})]


def older(value):
    if isinstance(value, records.Accepted) and value.again is not None:
        return value._replace(again=value.again[:4])
    return value


@pytest.mark.parametrize('kinds', [{}, {'probe': Changed}], ids=['gone', 'changed'])
def test_what_cannot_run_again_is_interrupted(state, kinds):
    about = command(repeatable=True)
    left(state, lambda journal: accept(journal, asked('a', 'twice', about=about)))

    with agents.Agent(kinds, state_dir=str(state)) as guest:
        assert outcomes(guest) == [('a', 'interrupted', None)]
    assert Changed.runs == []


def test_an_outcome_that_may_not_have_arrived_is_reported_once(state):
    def story(journal):
        for command_id in ('arrived', 'lost'):
            request = asked(command_id)
            accept(journal, request)
            finish(journal, request, done(command_id))
        journal.deliver('me', 'arrived')

    left(state, story)
    conductor = conductors.Conductor()

    for _ in range(2):
        with agents.Agent(
            {'probe': Probe}, state_dir=str(state), conductor=conductor
        ) as guest:
            assert outcomes(guest) == [('lost', 'done', 'lost')]
    assert len([r for r in conductor.reports if r['kind'] == 'outcome']) == 1


def test_an_interrupted_command_is_not_interrupted_twice(state):
    left(state, lambda journal: accept(journal, asked('a')))
    conductor = conductors.Conductor()

    for _ in range(2):
        with agents.Agent(
            {'probe': Probe}, state_dir=str(state), conductor=conductor
        ) as guest:
            assert outcomes(guest) == [('a', 'interrupted', None)]
    assert len([r for r in conductor.reports if r['kind'] == 'outcome']) == 1


def test_a_result_is_there_after_a_restart(state):
    with started(state) as guest:
        first = guest.call('probe.change', {'text': 'x'}, caller='c', command_id='1')
    with started(state) as guest:
        again = guest.call('probe.change', {'text': 'x'}, caller='c', command_id='1')
        with pytest.raises(errors.IdReused):
            guest.call('probe.change', {'text': 'y'}, caller='c', command_id='1')

    assert (first, again) == ('x', 'x')
    assert [text for text, _ in Probe.runs] == ['x']


def test_a_command_whose_record_is_damaged_is_interrupted_all_the_same(state):
    about = command(repeatable=True)

    def story(journal):
        accept(journal, asked('a', about=about))
        journal.find('me', 'a').accepted += 1
        told = []
        recovery.recover(journal, [], told.append, lambda data, _: told.append(data))
        assert [one['outcome'] for one in told] == [requests.INTERRUPTED]
        assert told[0]['caller'] == 'me'

    left(state, story)
