# SPDX-License-Identifier: Apache-2.0
"""The journal after a power cut at any moment, whatever the disk lost or tore.

The disk is one in memory that keeps what was synced, and of the rest each write, none
of it or a part (:mod:`tests.powercut`).
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from guestagent.agent import request as requests
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import states
from tests import powercut
from tests.unit.agent.journals import accept, asked, done, finish, opened, outcome

IDS = [f'id-{number}' for number in range(4)]
#: How much is left of what was not synced.
SHARES = st.sampled_from([0, 0.3, 0.6, 1])


class Story:
    """Does things to a journal, and notes after how many steps what was promised.

    :ivar promises: (steps, id, what it is sure to be from then on).
    """

    def __init__(self):
        self.disk = powercut.PowerCut()
        self.journal = opened(self.disk)
        self.begun = len(self.disk.steps)
        self.promises = []
        self.results = {}

    def accept(self, command_id):
        if accept(self.journal, asked(command_id)) is None:
            self._promise(command_id, states.ACCEPTED)

    def finish(self, *command_ids):
        running = []
        for command_id in command_ids:
            entry = self.journal.find('me', command_id)
            if entry is not None and entry.state == states.ACCEPTED:
                self.results[command_id] = len(self.disk.steps)
                running.append(command_id)
        self.journal.finish([(asked(one), done(self.results[one])) for one in running])
        for command_id in running:
            self._promise(command_id, states.ENDED)

    def accept_all(self, _command_id):
        wanted = [asked(command_id) for command_id in IDS]
        found = self.journal.accept(wanted)
        for request in wanted:
            if request not in found:
                self._promise(request.id, states.ACCEPTED)

    def finish_all(self, _command_id):
        self.finish(*IDS)

    def deliver(self, command_id):
        self.journal.deliver('me', command_id)

    def rewrite(self, _command_id):
        self.journal._compact()

    def sure(self, steps):
        """What must be known after a power cut there: {id: the least of its states}."""
        found = {}
        for when, command_id, state in self.promises:
            if when <= steps:
                found[command_id] = state
        return found

    def _promise(self, command_id, state):
        self.promises.append((len(self.disk.steps), command_id, state))


actions = st.lists(
    st.tuples(
        st.sampled_from(
            [
                'accept',
                'accept_all',
                'finish',
                'finish',
                'finish_all',
                'deliver',
                'rewrite',
            ]
        ),
        st.sampled_from(IDS),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=400, deadline=None)
@given(actions, st.data())
def test_what_was_promised_is_known_after_a_power_cut(todo, data):
    story = Story()
    for what, command_id in [('accept', IDS[0]), *todo]:
        getattr(story, what)(command_id)
    steps = data.draw(st.integers(story.begun, len(story.disk.steps)))

    left = story.disk.after(steps, lambda: data.draw(SHARES))
    journal = opened(left)

    for command_id, state in story.sure(steps).items():
        entry = journal.find('me', command_id)
        assert entry is not None, 'an accepted command is forgotten'
        assert entry.state >= state, 'an outcome is forgotten'
    for entry in list(journal._states):
        if entry.state != states.ACCEPTED:
            found = outcome(journal, asked(entry.id))
            assert found.result == story.results[entry.id], 'it is not its outcome'
    # It is of use, and what it accepts now outlives the next power cut.
    accept(journal, asked('after'))
    again = opened(left.after(len(left.steps), lambda: 0))
    assert again.find('me', 'after') is not None
    for command_id in story.sure(steps):
        assert again.find('me', command_id) is not None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 3000), st.booleans())
def test_any_damage_is_survived(junk, place, cut):
    disk = powercut.PowerCut()
    journal = opened(disk)
    for command_id in IDS:
        accept(journal, asked(command_id))
        finish(journal, asked(command_id), done(command_id))
        journal.deliver('me', command_id)
    journal.close()
    data = bytearray(disk.read('/state/journal'))
    place %= len(data)
    data[place : place + len(junk)] = junk
    if cut:
        del data[place + len(junk) :]

    journal = opened(powercut.PowerCut({'/state/journal': bytes(data)}))

    for entry in list(journal._states):
        if entry.state != states.ACCEPTED:
            assert outcome(journal, asked(entry.id)).result == entry.id
    if journal.find('me', 'new') is None:
        assert accept(journal, asked('new')) is None


def test_the_real_file_is_the_same_as_that_of_the_disk_in_memory(tmp_path):
    made = powercut.PowerCut()
    story = opened(made)
    accept(story, asked())
    finish(story, asked(), done())
    path = tmp_path / 'journal'
    path.write_bytes(made.read('/state/journal'))
    file = journals.recordfile.RecordFile(str(path), b'journal', 1)

    assert len(file.open().records) == 3
    assert requests.DONE in path.read_text('latin-1')
    file.close()
