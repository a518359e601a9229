# SPDX-License-Identifier: Apache-2.0
"""Power cuts: what a real agent wrote and synced, cut off at each point.

strace records what the agent does to its state folder and what it says to the bus.
Then the disk is made that a power cut after each step could have left (unsynced writes
gone, torn, or there though earlier ones are not), and another agent starts on it.  Each
command is sent once more, as a broker or a caller would.
"""

import collections
import random
import re
import sys

import pytest

from devstack import processes, stack
from guestagent import errors
from guestagent.bus import topics
from guestagent.testing import agent as agents
from tests import powercut
from tests.faults import tracing
from tests.faults.conftest import needs_strace
from tests.functional import conftest, raw

pytestmark = [pytest.mark.functional, needs_strace]

#: How many of the places are tried, each with a disk of chance; more by hand.
CHOSEN = 70
#: (id, verb, whether it is a call): in this order, the lists at once.
STORY = [
    [('id-0', 'mark', True)],
    [('id-1', 'mark_again', True)],
    [(f'id-{number}', 'mark', True) for number in range(2, 6)],
    [('id-6', 'mark', False), ('id-7', 'mark_again', False), ('id-8', 'mark', False)],
    [('id-9', 'mark', True)],
]
COMMANDS = [command for together in STORY for command in together]
_ACKNOWLEDGED = re.compile(
    rb'\x01..\x00\x00\x00\x0d\x00\x3c\x00\x50(.{8})(.)', re.DOTALL
)


@pytest.fixture
def bus_url(new_vhost):
    return new_vhost()


@pytest.fixture(scope='module')
def probe_class():
    sys.path.insert(0, str(conftest.PROBE))
    import guestagent_probe

    yield guestagent_probe.Probe
    sys.path.remove(str(conftest.PROBE))


class Promises:
    """What others know at a place of the trace, from what was sent until then."""

    def __init__(self, steps):
        self.ran = collections.Counter(step[2] for step in steps if step[0] == 'ran')
        said = b''.join(step[2] for step in steps if step[0] == 'sent')
        self.accepted = set()
        for found in _ACKNOWLEDGED.finditer(said):
            last = int.from_bytes(found[1])
            first = 1 if found[2] == b'\x01' else last
            self.accepted |= {command[0] for command in COMMANDS[first - 1 : last]}
        ids = [command[0].encode() for command in COMMANDS]
        self.replied = {
            one.decode()
            for one in ids
            if re.search(rb'_msg_id[^a-z]+' + one + rb'\\*"', said)
        }
        self.reported = {
            one.decode()
            for one in ids
            if re.search(rb'command_id[^a-z]+' + one + rb'\\*"', said)
        }


@pytest.fixture
def steps(bus_url, tmp_path, children):
    """What a real agent did and said in the story."""
    marks = tmp_path / 'marks'
    options = {
        'DEFAULT': {'enabled_extensions': 'probe'},
        'probe': {'marks': marks},
        # Nothing else is going on.
        'reports': {'heartbeat_interval': 60, 'splay': 0},
    }
    child = stack.Agent(
        tmp_path, bus_url, 'vm-1', options, conftest.PROBE,
        under=tracing.under(tmp_path / 'trace'),
    )  # fmt: skip
    children.append(child)
    child.wait_ready()
    with raw.RawClient(bus_url) as caller:
        for together in STORY:
            tell(caller, together)
        processes.wait_for(lambda: len(marks.read_text().split()) == 10, 'all ran')
        # The outcomes of the casts wait for somebody to take them, on the disk.
        spool = child.state / 'spool'
        processes.wait_for(lambda: b'"id-8"' in spool.read_bytes(), 'it is on the disk')
        caller.declare_reports()
        taken = []

        def reported():
            taken.extend(one for one in caller.reports() if 'outcome' in str(one))
            return len(taken) >= 3

        processes.wait_for(reported, 'the reports of the casts')
    child.kill()
    return tracing.Trace(child.state, marks).read((tmp_path / 'trace').read_text())


def tell(caller, together):
    for command_id, verb, is_call in together:
        waits = {'_msg_id': command_id, '_reply_q': caller.reply_queue}
        caller.send(
            'guestagent.vm-1',
            {
                'namespace': 'probe',
                'method': verb,
                'args': {'text': command_id},
                f'_context_{topics.CONTEXT_COMMAND_ID}': command_id,
                f'_context_{topics.CONTEXT_CALLER}': 'me',
                **(waits if is_call else {}),
            },
        )
    for _ in [command for command in together if command[2]]:
        assert caller.receive(30)['result'] is not None


def places(steps, dice):
    """Return the places to cut at: beside a sync or a word to others."""
    last = [
        number
        for number, step in enumerate(steps)
        if step[0] in ('sent', 'sync', 'sync_folder')
    ]
    beside = {place for number in last for place in (number, number + 1)}
    chosen = dice.sample(sorted(beside), min(CHOSEN, len(beside)))
    return sorted({*chosen, len(steps)})


def test_after_a_power_cut_each_promise_is_kept(steps, probe_class, tmp_path):
    dice = random.Random(4711)
    fates = [lambda: 0, lambda: 1, lambda: dice.choice([0, 0.3, 0.6, 1])]
    disk = powercut.PowerCut.of(steps)
    everything = Promises(steps)
    assert everything.accepted == {command[0] for command in COMMANDS}
    assert everything.replied == {one[0] for one in COMMANDS if one[2]}

    for number, place in enumerate(places(steps, dice)):
        left = disk.after(place, fates[number % len(fates)])
        folder = tmp_path / f'cut-{number}'
        folder.mkdir()
        for path, data in left.files().items():
            (folder / path.rpartition('/')[2]).write_bytes(data)
        check(Promises(steps[:place]), probe_class, folder, f'cut at {place}')


def check(promises, kind, folder, where):
    marks = folder / 'marks'
    options = {'probe': {'marks': str(marks)}}
    with agents.Agent(
        {'probe': kind}, options=options, instance='vm-1', state_dir=str(folder)
    ) as guest:
        owed = promises.accepted - promises.replied - promises.reported
        guest.wait(
            lambda: owed <= {one['command_id'] for one in guest.conductor.outcomes},
            what=f'{where}: the outcomes of {sorted(owed)}',
        )
        for command_id, verb, _ in COMMANDS:
            repeat = guest.send(
                f'probe.{verb}', {'text': command_id}, caller='me',
                command_id=command_id,
            )  # fmt: skip
            guest.wait(lambda repeat=repeat: repeat.answered)
            if command_id in promises.replied:
                assert repeat.result() > 0, f'{where}: {command_id} is forgotten'
            elif command_id not in promises.accepted or verb == 'mark_again':
                # It may have been on the disk all the same.
                expect_answer(repeat, verb)
    for name in ('journal', 'spool'):
        assert not (folder / f'{name}.damaged').exists(), f'{where}: {name}'
    ran = promises.ran + collections.Counter(
        marks.read_text().split() if marks.exists() else []
    )
    for command_id, verb, _ in COMMANDS:
        if verb == 'mark':
            assert ran[command_id] <= 1, f'{where}: {command_id} ran twice'
        else:
            assert ran[command_id] >= 1, f'{where}: {command_id} never ran'
            if command_id in promises.replied | promises.reported:
                assert ran[command_id] == promises.ran[command_id], f'{where}: again'


def expect_answer(repeat, verb):
    try:
        assert repeat.result() > 0
    except errors.Interrupted:
        assert verb == 'mark'
