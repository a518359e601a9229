# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import threading
import time

import pytest

from guestagent import errors
from guestagent.agent import outcomes
from guestagent.agent import request as requests
from guestagent.agent.journal import journal as journals
from guestagent.agent.journal import states
from tests import powercut
from tests.unit.agent.journals import (
    PATH,
    accept,
    asked,
    command,
    done,
    finish,
    opened,
    outcome,
)

EIO = OSError(errno.EIO, os.strerror(errno.EIO))


def ended(journal, request, result=None):
    assert accept(journal, request) is None
    finish(journal, request, done(result))


def writes(disk):
    return sum(step[0] == 'write' for step in disk.steps)


def syncs(disk):
    return sum(step[0] == 'sync' for step in disk.steps)


def test_a_command_is_synced_before_it_runs_and_again_before_its_answer():
    disk = powercut.PowerCut()
    journal = opened(disk)
    before = syncs(disk)

    accept(journal, asked())
    assert syncs(disk) == before + 1
    finish(journal, asked(), done('x'))
    assert syncs(disk) == before + 2

    journal.deliver('me', 'id')
    assert syncs(disk) == before + 2


def test_a_repeat_is_answered_with_the_outcome_also_after_a_restart():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('a'), {'n': 1})
    failed = asked('b')
    accept(journal, failed)
    finish(journal, failed, requests.Outcome(requests.FAILED, error=KeyError('no')))
    journal.close()

    for again in (journal := opened(disk), None):
        assert outcome(journal, asked('a')).result == {'n': 1}
        error = outcome(journal, asked('b')).error
        assert (type(error).__name__, str(error)) == ('KeyError', "'no'")
        if again:
            journal.close()
            journal = opened(disk)


def test_a_repeat_waits_for_one_that_runs():
    journal = opened()
    accept(journal, asked())
    answers = []
    accept(journal, asked()).then(answers.append)
    assert answers == []

    finish(journal, asked(), done(3))

    assert [answer.result for answer in answers] == [3]


def test_a_repeat_waits_for_one_that_runs_again_after_a_restart():
    disk = powercut.PowerCut()
    accept(opened(disk), asked())
    journal = opened(disk)
    assert outcome(journal, asked()) is None
    answers = []
    accept(journal, asked()).then(answers.append)

    finish(journal, asked(), done(3))

    assert [answer.result for answer in answers] == [3]
    assert outcome(journal, asked()).result == 3


def test_an_id_is_one_command_of_one_caller():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked(text='one'))
    journal.close()
    journal = opened(disk)

    with pytest.raises(errors.IdReused, match="'id' was used for another request"):
        accept(journal, asked(text='two'))
    assert accept(journal, asked(text='two', caller='you')) is None
    assert not journal.refusing


def test_a_secret_is_never_on_the_disk():
    disk = powercut.PowerCut()
    journal = opened(disk)
    about = command(repeatable=True, sensitive=('text', 'return'))
    request = asked(text='hunter2', about=about)
    accept(journal, request)
    answers = []
    accept(journal, request).then(answers.append)
    finish(journal, request, done('hunter3'))
    journal.close()

    assert b'hunter' not in disk.read(PATH)
    assert b'of the context' not in disk.read(PATH)
    assert answers[0].status == requests.WITHHELD
    assert outcome(opened(disk), request).status == requests.WITHHELD


def test_arguments_are_kept_only_of_what_may_run_again():
    disk = powercut.PowerCut()
    journal = opened(disk)
    accept(journal, asked('a', 'kept', about=command(repeatable=True)))
    accept(journal, asked('b', 'not kept', about=command()))
    assert b'"kept"' in disk.read(PATH)
    assert b'not kept' not in disk.read(PATH)

    kept = [journal.accepted(entry).again for entry in journal.unfinished()]

    assert kept == [['probe', 'change', '1.0', {'text': 'kept'}, False], None]


def test_arguments_that_are_too_large_are_not_kept():
    journal = opened(size=10**8)
    accept(journal, asked('a', 'x' * 2**21, about=command(repeatable=True)))

    assert journal.accepted(journal.unfinished()[0]).again is None


def test_an_outcome_counts_once():
    journal = opened()
    accept(journal, asked())
    finish(journal, asked(), done('first'))
    finish(journal, asked(), done('second'))

    assert outcome(journal, asked()).result == 'first'


def test_the_outcome_of_what_is_unknown_changes_nothing():
    journal = opened()
    finish(journal, asked(), done())

    assert len(journal) == 0


def test_what_is_delivered_is_not_undelivered_after_a_restart():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('a'))
    ended(journal, asked('b'))
    journal.deliver('me', 'a')
    journal.deliver('me', 'unknown')
    journal.close()

    assert [entry.id for entry in opened(disk).undelivered()] == ['b']


def test_a_delivery_that_finds_the_journal_busy_is_noted_later():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('a'))
    with journal._lock:
        journal.deliver('me', 'a')
    ended(journal, asked('b'))

    left = disk.after(len(disk.steps), lambda: 1)
    assert [entry.id for entry in opened(left).undelivered()] == ['b']


@pytest.mark.parametrize(
    'bounds', [{'commands': 3}, {'size': 1000}, {'seconds': -1}], ids=str
)
def test_the_oldest_that_are_delivered_are_forgotten(bounds):
    disk = powercut.PowerCut()
    journal = opened(disk, **bounds)
    for number in range(6):
        ended(journal, asked(f'id-{number}'))
        journal.deliver('me', f'id-{number}')

    assert len(journal) <= 3
    assert journal.find('me', 'id-0') is None
    assert journal.find('me', 'id-5') is not None
    journal.close()
    assert opened(disk, **bounds).find('me', 'id-0') is None


def test_what_nobody_has_is_not_forgotten_and_more_is_refused():
    told = []
    journal = opened(commands=2, tell=lambda name, data: told.append((name, data)))
    ended(journal, asked('a'))
    ended(journal, asked('b'))

    for _ in range(2):
        with pytest.raises(errors.JournalFull, match='repeat the request later'):
            accept(journal, asked('c'))
    assert outcome(journal, asked('a')).status == requests.DONE
    journal.deliver('me', 'a')
    assert accept(journal, asked('c')) is None

    assert [name for name, _ in told] == ['journal-refuses', 'journal-accepts']
    assert told[0][1]['code'] == 'journal-full'
    assert told[1][1] == {'refused': 2}


def test_a_full_disk_refuses_new_commands_and_keeps_the_outcomes_of_others():
    disk = powercut.PowerCut()
    journal = opened(disk)
    for number in range(5):
        accept(journal, asked(f'id-{number}', caller='ü' * 300))
    disk.room = 0

    error = None
    refused = 0
    while error is None:  # until what is reserved at a time is used up
        try:
            accept(journal, asked(f'more-{refused}'))
            refused += 1
        except errors.DiskFull as caught:
            error = caught
    assert error.code == 'disk-full'
    for number in range(5):
        request = asked(f'id-{number}', caller='ü' * 300)
        finish(journal, request, done('y' * 20000))
        found = outcome(journal, request)
        assert isinstance(found.error, errors.ResultTooLarge)
    for number in range(refused):
        finish(journal, asked(f'more-{number}'), done('short'))
    assert not [entry for entry in journal._states if entry.unsaved]

    disk.room = None
    assert accept(journal, asked('at last')) is None
    journal.close()
    again = opened(disk)
    assert [entry.id for entry in again.unfinished()] == ['at last']


def test_a_failed_sync_is_answered_with_a_new_file():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('a'), 1)

    def failing(fd, real=disk.sync):
        disk.sync = real
        raise EIO

    disk.sync = failing
    ended(journal, asked('b'), 2)
    journal.close()

    again = opened(disk.after(len(disk.steps), lambda: 0))
    assert outcome(again, asked('a')).result == 1
    assert outcome(again, asked('b')).result == 2


def test_a_disk_that_keeps_nothing_refuses_until_it_does():
    disk = powercut.PowerCut()
    told = []
    journal = opened(disk, tell=lambda name, data: told.append(name))
    ended(journal, asked('a'), 1)
    accept(journal, asked('b'))
    disk.sync_error = EIO

    with pytest.raises(errors.StorageError, match='Input/output'):
        accept(journal, asked('c'))
    finish(journal, asked('b'), done(2))
    assert outcome(journal, asked('a')).result == 1
    assert outcome(journal, asked('b')).result == 2
    with pytest.raises(errors.StorageError):
        accept(journal, asked('c'))

    disk.sync_error = None
    assert accept(journal, asked('c')) is None
    again = opened(disk.after(len(disk.steps), lambda: 0))
    assert outcome(again, asked('b')).result == 2
    assert [entry.id for entry in again.unfinished()] == ['c']
    assert told == ['journal-refuses', 'journal-accepts']


def test_the_file_is_written_anew_when_most_of_it_is_waste(monkeypatch):
    monkeypatch.setattr(journals, 'WASTE_MAX', 10000)
    disk = powercut.PowerCut()
    journal = opened(disk, commands=10)
    for number in range(200):
        ended(journal, asked(f'id-{number}'), number)
        journal.deliver('me', f'id-{number}')
    thread = journal._compaction
    if thread is not None:
        thread.join(30)

    assert journal.size < 25000
    assert any(step[0] == 'rename' for step in disk.steps[10:])
    for again in (journal, opened(disk.after(len(disk.steps), lambda: 1), commands=10)):
        assert outcome(again, asked('id-199')).result == 199
        assert len(again) == 10


def test_many_threads_share_syncs_and_each_has_its_outcome(tmp_path):
    disk = powercut.PowerCut()
    journal = opened(disk, commands=1000)
    before, real = syncs(disk), disk.sync
    working, begun = set(range(8)), [writes(disk)]

    def slow(fd):
        # All that wait have written since the sync before this one has begun.
        until, since = time.monotonic() + 30, begun[-1]
        begun.append(writes(disk))
        while writes(disk) - since < len(working) and time.monotonic() < until:
            time.sleep(0.001)
        real(fd)

    disk.sync = slow

    def work(number):
        for count in range(10):
            request = asked(f'{number}-{count}')
            accept(journal, request)
            finish(journal, request, done(count))
        working.remove(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert syncs(disk) - before < 80  # of 160 waits
    again = opened(disk.after(len(disk.steps), lambda: 0), commands=1000)
    assert outcome(again, asked('7-9')).result == 9
    assert len(again) == 80


def test_a_rewrite_beside_commands_loses_none():
    disk = powercut.PowerCut()
    journal = opened(disk, commands=1000)
    stop, begun = threading.Event(), threading.Event()
    failures = []

    def work():
        begun.wait(60)
        for number in range(300):
            request = asked(f'id-{number}')
            try:
                accept(journal, request)
                finish(journal, request, done(number))
                journal.deliver('me', f'id-{number}')
            except errors.GuestAgentError as error:
                failures.append(error)
        stop.set()

    thread = threading.Thread(target=work)
    thread.start()
    rewritten = 0
    while not stop.is_set():
        journal._compact()
        rewritten += 1
        begun.set()
    thread.join(60)

    assert failures == []
    assert rewritten
    for again in (
        journal,
        opened(disk.after(len(disk.steps), lambda: 0), commands=1000),
    ):
        assert [outcome(again, asked(f'id-{n}')).result for n in range(300)] == list(
            range(300)
        )


def test_damage_is_told_and_mended(caplog):
    disk = powercut.PowerCut()
    journal = opened(disk)
    for number in range(3):
        ended(journal, asked(f'id-{number}'), number)
    journal.close()
    data = bytearray(disk.read(PATH))
    data[data.index(b'id-1') + 2] ^= 1
    disk = powercut.PowerCut({PATH: bytes(data)})

    journal = opened(disk)

    assert 'damaged' in caplog.text
    # The record of its acceptance is lost; that of its outcome says enough.
    assert [outcome(journal, asked(f'id-{n}')).result for n in range(3)] == [0, 1, 2]
    journal.close()
    caplog.clear()
    opened(disk)
    assert caplog.text == ''


def test_an_outcome_that_cannot_be_read_is_an_error_not_a_second_run():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked(), 1)
    journal.find('me', 'id').ended += 1

    assert isinstance(outcome(journal, asked()).error, errors.StorageError)


def test_states_are_bounded_when_they_are_read():
    disk = powercut.PowerCut()
    journal = opened(disk)
    for number in range(20):
        ended(journal, asked(f'id-{number}'))
        journal.deliver('me', f'id-{number}')
    journal.close()

    assert len(opened(disk, commands=5)) == 5


def test_the_record_of_an_outcome_is_that_of_its_report():
    journal = opened()
    request = asked()
    accept(journal, request)
    finish(journal, request, done([1]))

    data, failure = journal.ended(journal.find('me', 'id'))

    assert data == json.loads(json.dumps(outcomes.describe(request, done([1]))))
    assert failure is None
    assert journal.find('me', 'id').state == states.ENDED


def test_the_commands_of_another_instance_are_none_of_ours(caplog):
    disk = powercut.PowerCut()
    journal = opened(disk, instance='template')
    ended(journal, asked('a'))
    accept(journal, asked('b'))
    journal.close()

    journal = opened(disk, instance='copy')
    assert 'that of another instance' in caplog.text
    assert len(journal) == 0
    ended(journal, asked('b'), 'ours')
    journal._compact()
    journal.close()

    assert outcome(opened(disk, instance='copy'), asked('b')).result == 'ours'


def test_commands_do_not_wait_for_a_rewrite():
    disk = powercut.PowerCut()
    journal = opened(disk)
    for number in range(3):
        ended(journal, asked(f'id-{number}'), number)
    copying, go_on = threading.Event(), threading.Event()
    real = disk.create

    def create(path):
        if path.endswith('.compact'):
            copying.set()
            assert go_on.wait(20)
        return real(path)

    disk.create = create
    thread = threading.Thread(target=journal._compact)
    thread.start()
    assert copying.wait(20)

    ended(journal, asked('meanwhile'), 'x')
    go_on.set()
    thread.join(20)

    left = opened(disk.after(len(disk.steps), lambda: 0))
    for again in (journal, left):
        assert outcome(again, asked('meanwhile')).result == 'x'
        assert outcome(again, asked('id-0')).result == 0


def test_a_rewrite_is_given_up_when_the_file_was_replaced_meanwhile(caplog):
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('a'), 1)
    real = disk.create

    def create(path):
        made = real(path)
        if path.endswith('.compact'):
            disk.create = real
            journal._rewrite()
        return made

    disk.create = create
    journal._compact()

    # It was replaced before anything was copied, so nothing need be given up.
    assert outcome(journal, asked('a')).result == 1

    real_sync = disk.sync

    def sync(fd):
        disk.sync = real_sync
        journal._rewrite()
        real_sync(fd)

    disk.sync = sync
    journal._compact()

    assert 'replaced meanwhile' in caplog.text
    assert outcome(journal, asked('a')).result == 1
    left = opened(disk.after(len(disk.steps), lambda: 0))
    assert outcome(left, asked('a')).result == 1


def test_a_rewrite_that_is_late_does_not_touch_the_file_of_the_next_agent():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('a'), 1)
    real = disk.sync
    following = []

    def sync(fd):
        disk.sync = real
        # Not close(), which waits for the turn.
        journal._file.close()
        following.append(opened(disk))
        ended(following[0], asked('b'), 2)
        real(fd)

    disk.sync = sync
    journal._compact()

    left = opened(disk.after(len(disk.steps), lambda: 1))
    assert outcome(left, asked('b')).result == 2


def test_several_share_a_write_and_a_sync_and_each_has_its_answer():
    disk = powercut.PowerCut()
    journal = opened(disk)
    ended(journal, asked('old'), 1)
    steps = len(disk.steps)
    new = [asked(f'new-{number}') for number in range(5)]
    old, reused, twice = asked('old'), asked('old', 'other'), asked('new-0')
    answers = []

    found = journal.accept([*new, old, reused, twice])

    assert set(found) == {old, reused, twice}
    found[old].then(answers.append)
    assert isinstance(found[reused], errors.IdReused)
    found[twice].then(answers.append)
    assert [one.result for one in answers] == [1]
    assert [step[0] for step in disk.steps[steps:]] == ['write', 'sync']

    steps = len(disk.steps)
    journal.finish([(request, done(request.id)) for request in new])

    assert [step[0] for step in disk.steps[steps:]] == ['write', 'sync']
    assert [one.result for one in answers] == [1, 'new-0']
    again = opened(disk.after(len(disk.steps), lambda: 0))
    assert [outcome(again, one).result for one in new] == [one.id for one in new]


def test_of_several_none_is_known_that_could_not_be_written():
    disk = powercut.PowerCut()
    journal = opened(disk)
    accept(journal, asked('running'))
    several = [asked('a'), asked('b'), asked('a')]
    real = disk.write

    def failing(fd, data, offset):
        disk.write = real
        raise EIO

    disk.write = failing
    found = journal.accept(several)

    assert [type(found[one]) for one in several[:2]] == [errors.StorageError] * 2
    answers = []
    found[several[2]].then(answers.append)
    assert isinstance(answers[0].error, errors.StorageError)
    assert [one.id for one in journal.unfinished()] == ['running']
    disk.write = failing
    journal.finish([(asked('running'), done(3))])
    assert outcome(journal, asked('running')).result == 3
    assert journal.accept(several[:2]) == {}
    again = opened(disk.after(len(disk.steps), lambda: 0))
    assert [one.id for one in again.unfinished()] == ['running', 'a', 'b']


def test_as_many_as_the_disk_has_room_for_are_accepted_and_the_rest_refused():
    disk = powercut.PowerCut()
    journal = opened(disk, commands=1000)
    accept(journal, asked('first'))
    disk.room = 0
    several = [asked(f'id-{number}') for number in range(200)]

    found = journal.accept(several)

    kept = [one for one in several if one not in found]
    assert 0 < len(kept) < len(several)
    assert all(isinstance(one, errors.DiskFull) for one in found.values())
    journal.finish([(one, done('x' * 1000)) for one in kept])
    assert not [entry for entry in journal._states if entry.unsaved]
    again = opened(disk.after(len(disk.steps), lambda: 0))
    assert [outcome(again, one).result for one in kept] == ['x' * 1000] * len(kept)
