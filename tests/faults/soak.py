# SPDX-License-Identifier: Apache-2.0
"""A real stack under load and random faults, and whether it kept its promises.

::

    make soak [MINUTES=60] [SEED=1]

The exit code is 0 if nothing was lost, and nothing ran twice (doc/promises.rst).
"""

import argparse
import collections
import dataclasses
import logging
import pathlib
import random
import shutil
import sys
import tempfile
import time

from guestagent import client, errors, imports
from guestagent.agent import recordfile
from guestagent.agent.journal import records

imports.refuse('eventlet')

GUESTS = ['web-1', 'web-2', 'db-1', 'db-2']
#: Reports of a run that was killed which may not have been on the disk yet: those of
#: the moment in which it was.
UNSAVED = 3


@dataclasses.dataclass
class Count:
    """What is printed; the last four must be 0."""

    sent: int = 0
    accepted: int = 0
    recorded: int = 0
    late: int = 0
    lost: int = 0
    twice: int = 0
    reports: int = 0
    reports_twice: int = 0
    reports_lost: int = 0
    vacuous: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def good(self):
        bad = self.lost + self.twice + self.reports_lost + self.reports_twice
        return not self.vacuous and not bad


def main():
    """Run, print and return the exit code."""
    # It tells at length of what is done to it here.
    logging.disable(logging.CRITICAL)
    arguments = parse()
    seed = arguments.seed or random.randrange(1, 10**6)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='guestagent-soak-'))
    say(f'seed {seed}, {arguments.minutes:g} minutes, in {folder}')
    count = soak(folder, seed, arguments.minutes * 60)
    for note in count.notes:
        say(note)
    print(
        f'commands sent        {count.sent}\n'
        f'commands accepted    {count.accepted}\n'
        f'outcomes recorded    {count.recorded}\n'
        f'answered too late    {count.late}\n'
        f'reports              {count.reports}\n'
        f'reports taken twice  {count.reports_twice}\n'
        f'lost                 {count.lost}\n'
        f'run twice            {count.twice}\n'
        f'reports lost         {count.reports_lost}'
    )
    if count.good:
        shutil.rmtree(folder)
    else:
        say(f'its files are in {folder}')
    return 0 if count.good else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--seed', type=int, default=0, help='default: a random one')
    return parser.parse_args()


def soak(folder, seed, seconds):
    """Run the stack for so long; return what came of it."""
    from tests.faults import havoc, load

    made = havoc.Stack(folder, GUESTS)
    try:
        callers = load.Callers(made.url, GUESTS, seed)
        callers.start(with_ids=10, stock=6)
        faults = collections.Counter()

        def tell(name):
            faults[name] += 1
            say(name)

        havoc.run(made, random.Random(seed), seconds, tell)
        say('no more faults')
        callers.stop(180)
        made.stop_agents()
        havoc.wait_taken(made.url)
        count = judge(made, callers.sent)
        count.notes.insert(0, f'{sum(faults.values())} faults: {dict(faults)}')
        return count
    finally:
        made.stop()


def judge(made, sent):
    """Return what became of the commands that were sent, and of the reports."""
    count = Count(sent=len(sent))
    marks = {
        name: collections.Counter(read_lines(made.marks(name))) for name in made.guests
    }
    with client.Client(url=made.url, timeout=60) as guests:
        outcomes = {name: known_outcomes(guests, name) for name in made.guests}
        judge_commands(made, sent, marks, outcomes, count)
        for name in made.guests:
            judge_reports(guests, made, name, count)
    told = collections.Counter(one.told or 'nothing' for one in sent)
    # What refuses everything loses nothing.
    count.vacuous = 3 * told['done'] < len(sent)
    count.notes.append(f'callers were told: {dict(told)}')
    return count


def judge_commands(made, sent, marks, outcomes, count):
    journals = {name: read_journal(made.agent(name)) for name in made.guests}
    for one in sent:
        ran = marks[one.guest][one.text]
        state = journals[one.guest].get(one.digest)
        recorded = outcomes[one.guest].get(one.digest)
        if one.insists and not one.told:
            count.lost += 1
            count.notes.append(f'its caller was never told: {one}')
        if ran or state or recorded or one.told:
            count.accepted += 1
            if recorded or one.told:
                count.recorded += 1
            elif is_answered_late(one, state):
                count.late += 1
            else:
                count.lost += 1
                count.notes.append(f'no outcome: {one}, ran {ran}, journal: {state}')
        if ran > 1 and one.verb == 'mark':
            count.twice += 1
            count.notes.append(f'ran {ran} times: {one}')
        if not ran and 'done' in (one.told, recorded):
            count.lost += 1
            count.notes.append(f'done, but did not run: {one}')


def is_answered_late(one, state):
    """Whether the broker has confirmed the reply to a caller that had given up.

    A journal forgets nothing but what is delivered.
    """
    return not one.casts and not one.insists and state in (None, 'delivered')


def judge_reports(guests, made, name, count):
    """Each run has reported all that it said, but for what was not on the disk yet."""
    said = collections.Counter(
        line.split()[0]
        for line in read_lines(pathlib.Path(f'{made.marks(name)}.pulses'))
    )
    taken = collections.defaultdict(list)
    for event in guests.conductor.events(name, limit=1000, type='probe.pulse'):
        taken[event['data']['run']].append(event['data']['n'])
    for run, number in said.items():
        came = sorted(taken[run])
        count.reports += len(came)
        last = max(came, default=0)
        # Two conductors write at the same time, so the order of the table says nothing.
        missing = sorted(set(range(1, last + 1)) - set(came))
        if number - last > UNSAVED:
            missing += range(last + 1, number + 1)
        if missing:
            count.reports_lost += len(missing)
            count.notes.append(
                f'run {run} of {name}: {missing} of {number} are missing'
            )
        if len(came) != len(set(came)):
            count.reports_twice += len(came) - len(set(came))
            count.notes.append(f'run {run} of {name}: some are there twice: {came}')
    dropped = guests.conductor.instance_show(name)['dropped']
    if dropped:
        count.reports_lost += dropped
        count.notes.append(f'{name} says that it has dropped {dropped} reports')


def known_outcomes(guests, name):
    """Return the outcomes that the conductor has: {digest: outcome}."""
    try:
        found = list(guests.conductor.commands(name, limit=1000))
    except errors.NoSuchInstance:
        return {}
    return {record['digest']: record['outcome'] for record in found}


def read_journal(agent):
    """Return the commands in the journal of an agent that has stopped."""
    file = recordfile.RecordFile(
        str(agent.state / 'journal'), records.KIND, records.VERSION
    )
    states, digests = {}, {}
    for _, record in file.open().records:
        kind, number = records.head(record)
        if kind == records.ACCEPTED:
            digests[number] = records.accepted(record).digest
            states[digests[number]] = 'accepted'
        elif number in digests:
            states[digests[number]] = 'ended' if kind == records.ENDED else 'delivered'
    file.close()
    return states


def read_lines(path):
    return path.read_text().splitlines() if path.exists() else []


def say(text):
    sys.stderr.write(f'{time.strftime("%H:%M:%S")} {text}\n')


if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    sys.exit(main())
