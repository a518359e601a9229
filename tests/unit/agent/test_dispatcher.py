# SPDX-License-Identifier: Apache-2.0
"""The way of a request, with a door, steps and an extension of the test's own."""

import itertools
import threading
import time

import pytest

from guestagent import errors, extension
from guestagent import loop as loops
from guestagent.agent import disk as disks
from guestagent.agent import dispatcher, pool, recordfile, registry, steps
from guestagent.agent import request as requests
from guestagent.agent.journal import journal, records, states
from guestagent.agent.steps import arguments, journaling, limit, version
from guestagent.bus import base
from tests import powercut


class Echo(extension.Extension):
    version = '1.2'
    gate = threading.Event()

    @extension.command(mutates=False)
    def echo(self, context: extension.Context, value: int = 0) -> int:
        return value

    @extension.command(mutates=False, inline=True)
    def thread(self, context: extension.Context) -> int:
        return threading.get_ident()

    @extension.command(mutates=True)
    def change(self, context: extension.Context, value: int = 0) -> int:
        self.ran = getattr(self, 'ran', 0) + 1
        return self.ran

    @extension.command(mutates=True, urgent=True)
    def thaw(self, context: extension.Context) -> bool:
        return disks.URGENCY.urgent

    @extension.command(mutates=True, timeout=0.2)
    def hang(self, context: extension.Context) -> None:
        done = threading.Event()
        context.on_cancel(done.set)
        done.wait(60)
        context.check()

    @extension.command(mutates=True)
    def linger(self, context: extension.Context) -> None:
        done = threading.Event()
        context.on_cancel(done.set)
        done.wait(60)
        context.check()

    @extension.command(mutates=True)
    def hold(self, context: extension.Context) -> None:
        self.gate.wait(60)


class Door(requests.Door):
    wants_reply = True

    def __init__(self):
        self.log = []

    def acknowledge(self):
        self.log.append('ack')

    def answer(self, request, outcome):
        self.log.append(outcome)
        return True


class Recorder(steps.Step):
    """Notes what it is asked, under a name."""

    def __init__(self, name, log):
        self.name = name
        self.log = log

    def admit(self, request):
        self.log.append(f'{self.name} admits')

    def accept(self, request):
        self.log.append(f'{self.name} accepts, acknowledged: {request.acknowledged}')

    def finish(self, request, outcome):
        self.log.append(f'{self.name} finishes {outcome.status}')


class Bench:
    """A loop, a dispatcher and a way to wait."""

    def __init__(self, extra=(), workers=2, backlog=2):
        self.loop = loops.Loop()
        file = recordfile.RecordFile(
            '/journal', records.KIND, records.VERSION, powercut.PowerCut()
        )
        self.journal = journal.Journal(
            file, 'vm', states.Bounds(100, 10**6, 1000), lambda *_: None
        )
        self.journal.open()
        self.numbers = itertools.count()
        self.reported = []
        self.kept = []
        self.known = known = registry.Registry(None, extension.Host())
        known.add('echo', registry.Loaded('echo', Echo('echo', None, extension.Host())))
        self.pool = pool.Pool(workers, backlog, idle_seconds=0.1)
        self.dispatcher = dispatcher.Dispatcher(
            self.loop,
            self.pool,
            self,
            [
                version.Version(known),
                limit.Limit(lambda: self.pool.has_room),
                arguments.Arguments(),
                journaling.Journaling(self.journal),
                *extra,
            ],
        )

    def report_outcome(self, data, kept=None):
        self.reported.append(data)
        self.kept.append(kept)

    def submit(self, method='echo', args=None, **given):
        door = given.pop('door', None) or Door()
        self.dispatcher.submit(
            requests.Request(
                'echo',
                method,
                '1.0',
                args or {},
                caller=given.pop('caller', ''),
                command_id=given.pop('command_id', None) or f'id-{next(self.numbers)}',
                id_given=given.pop('id_given', False),
                values={},
                door=door,
                **given,
            )
        )
        return door

    def wait(self, condition, seconds=60):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, 'it did not come about'
            self.loop.run_once(0.01)


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.loop.close()


def answer(bench, door):
    bench.wait(lambda: len(door.log) >= 2)
    return next(entry for entry in door.log if entry != 'ack')


def test_a_read_is_acknowledged_before_it_runs(bench):
    door = bench.submit(args={'value': 3})

    assert answer(bench, door).result == 3
    assert door.log[0] == 'ack'


def test_what_is_inline_is_answered_at_once_though_all_workers_are_busy():
    bench = Bench(workers=1, backlog=0)
    gate = threading.Event()
    bench.pool.submit(lambda _: gate.wait(60), None)

    door = bench.submit('thread')
    gate.set()

    assert door.log[0] == 'ack'
    assert door.log[1].result == threading.get_ident()
    bench.loop.close()


def test_what_is_urgent_gets_through_though_all_workers_are_busy():
    bench = Bench(workers=1, backlog=0)
    gate = threading.Event()
    bench.pool.submit(lambda _: gate.wait(60), None)

    door = bench.submit('thaw', command_id='urgent')

    assert answer(bench, door).result is True
    assert bench.journal.find('', 'urgent').ended >= 0
    gate.set()
    bench.loop.close()


def test_what_changes_the_guest_cannot_be_inline():
    with pytest.raises(ValueError, match='cannot be inline'):
        extension.command(mutates=True, inline=True)


def test_steps_are_asked_in_order_and_finish_in_reverse():
    log = []
    bench = Bench([Recorder('a', log), Recorder('b', log)])

    answer(bench, bench.submit('change'))

    assert log == [
        'a admits',
        'b admits',
        'a accepts, acknowledged: False',
        'b accepts, acknowledged: False',
        'b finishes done',
        'a finishes done',
    ]
    bench.loop.close()


def test_a_refusal_is_answered_once_and_asks_no_later_step():
    log = []

    class Refuser(steps.Step):
        def admit(self, request):
            raise errors.Refused('not you')

    bench = Bench([Refuser(), Recorder('after', log)])
    door = bench.submit()

    assert [type(entry) for entry in door.log] == [str, requests.Outcome]
    assert isinstance(door.log[1].error, errors.Refused)
    assert log == []
    bench.loop.close()


def test_a_fault_in_a_step_is_answered_too(caplog):
    class Faulty(steps.Step):
        def admit(self, request):
            raise ZeroDivisionError('oops')

    bench = Bench([Faulty()])
    door = bench.submit()

    assert isinstance(door.log[1].error, ZeroDivisionError)
    assert 'could not be judged' in caplog.text
    bench.loop.close()


def test_a_refusal_on_the_worker_is_answered(bench):
    first = bench.submit('change', command_id='c', id_given=True)
    assert answer(bench, first).result == 1

    second = bench.submit('change', {'value': 5}, command_id='c', id_given=True)

    assert isinstance(answer(bench, second).error, errors.IdReused)
    assert second.log[0] == 'ack'


def test_a_command_past_its_time_has_one_outcome(bench):
    door = bench.submit('hang')

    assert isinstance(answer(bench, door).error, errors.CommandTimeout)
    bench.wait(lambda: bench.pool.outstanding == 0)
    bench.loop.run_once(0.01)
    assert len([e for e in door.log if e != 'ack']) == 1


def test_what_expired_while_it_waited_does_not_run(bench):
    door = bench.submit('change', expires=time.monotonic() - 1)

    bench.wait(lambda: bench.pool.outstanding == 0 and not bench.dispatcher.in_flight())
    bench.wait(lambda: door.log == ['ack'])
    assert answer(bench, bench.submit('change')).result == 1


def test_what_waits_is_dropped_at_the_stop_and_what_is_unacknowledged_stays():
    bench = Bench(workers=1)
    running = bench.submit('linger')
    bench.wait(lambda: running.log == ['ack'])
    read, change = bench.submit('echo'), bench.submit('change')

    bench.dispatcher.cancel_all(errors.Interrupted('stop'))

    assert isinstance(read.log[1].error, errors.Stopping)
    assert change.log == []
    assert answer(bench, running).status == 'interrupted'
    bench.wait(lambda: bench.pool.outstanding == 0)
    assert change.log == []
    bench.loop.close()


def test_an_answer_that_nobody_waits_for_is_reported(bench):
    class Cast(Door):
        def answer(self, request, outcome):
            return False

    bench.submit('change', door=Cast())
    bench.wait(lambda: bench.reported)
    assert bench.reported[0]['result'] == 1

    bench.submit('thread', door=Cast())
    assert bench.reported[1]['result'] == threading.get_ident()


def test_many_callers_each_get_their_own_answer():
    bench = Bench(workers=4, backlog=1000)
    doors = [bench.submit(args={'value': n}) for n in range(500)]

    assert [answer(bench, door).result for door in doors] == list(range(500))
    assert bench.dispatcher.in_flight() == []
    bench.loop.close()


def admitted(bench, command_id):
    """Return a request that no door waits for."""
    request = requests.Request(
        'echo',
        'change',
        '1.0',
        {},
        caller='',
        command_id=command_id,
        id_given=True,
        values={},
        door=requests.Door(),
    )
    version.Version(bench.known).admit(request)
    return request


def test_the_context_says_whether_the_name_is_more_than_a_claim(bench):
    request = admitted(bench, 'x')
    request.caller = 'me'
    assert (request.begin().caller, request.begin().owner) == ('me', 'plain:me')
    request.proven = True
    assert (request.begin().caller, request.begin().owner) == ('me', 'me')


class Deliveries(steps.Step):
    """Notes which outcomes are in others' hands."""

    def __init__(self):
        self.noted = []

    def delivered(self, request):
        self.noted.append(request.id)


@pytest.mark.parametrize('sent', list(base.Sent))
def test_an_outcome_is_delivered_by_its_reply_or_by_a_report_that_is_kept(sent):
    deliveries = Deliveries()
    bench = Bench([deliveries])
    request = admitted(bench, 'replied')

    bench.dispatcher.replied(request, requests.Outcome(requests.DONE, 1), sent)

    if sent is base.Sent.CONFIRMED:
        assert deliveries.noted == ['replied']
        assert bench.reported == []
    else:
        assert deliveries.noted == []
        assert bench.reported[0]['command_id'] == 'replied'
        bench.kept[0]()
        assert deliveries.noted == ['replied']
    bench.loop.close()


def test_what_is_cancelled_while_it_is_accepted_does_not_run():
    log, entered, leave = [], threading.Event(), threading.Event()

    class Slow(Recorder):
        def accept(self, request):
            entered.set()
            leave.wait(60)

    bench = Bench([Slow('slow', log)])
    door = bench.submit('change')
    entered.wait(60)
    request = bench.dispatcher.in_flight()[0]

    assert bench.dispatcher.cancel(request, errors.Cancelled('no more'))
    assert str(answer(bench, door).error) == 'no more'
    leave.set()

    # It is said once more, for a note that was made only now.
    bench.wait(lambda: log.count('slow finishes failed') == 2)
    assert request.started is None
    bench.loop.close()


def test_what_was_accepted_before_runs_again_without_being_accepted():
    log = []
    bench = Bench([Recorder('a', log)])

    bench.dispatcher.resume(admitted(bench, 'again'))

    bench.wait(lambda: bench.reported)
    assert bench.reported[0]['result'] == 1
    assert log == ['a finishes done']
    bench.loop.close()


def test_several_are_accepted_and_settled_together():
    accepted, ended = [], []

    class Several(steps.Step):
        def accept_all(self, several):
            accepted.append([request.id for request in several])
            return {}

        def finish_all(self, several):
            ended.append([request.id for request, _ in several])

    bench = Bench([Several()], workers=4, backlog=10)
    gate = threading.Event()
    bench.pool.submit(lambda _: gate.wait(60), None)
    bench.pool.run = _held(bench.pool.run, held := [])
    doors = [bench.submit('change', command_id=f'c{n}') for n in range(3)]

    bench.pool.run = held.pop()
    held.pop()()

    assert sorted(answer(bench, door).result for door in doors) == [1, 2, 3]
    assert accepted == [['c0', 'c1', 'c2']]
    assert sorted(itertools.chain(*ended)) == ['c0', 'c1', 'c2']
    gate.set()
    bench.loop.close()


def _held(run, held):
    """Return what runs nothing, but leaves in ``held`` what would, and ``run``."""

    def hold(*args, **named):
        held.extend([lambda: run(*args, **named), run])

    return hold


def test_no_more_is_accepted_than_workers_are_free(monkeypatch):
    monkeypatch.setattr(Echo, 'gate', gate := threading.Event())
    bench = Bench(workers=2, backlog=10)
    running = [bench.submit('hold') for _ in range(2)]
    bench.wait(lambda: all(door.log == ['ack'] for door in running))

    waiting = [bench.submit('change') for _ in range(3)]
    bench.loop.run_once(0.01)

    assert [door.log for door in waiting] == [[], [], []]
    assert len(bench.journal) == 2
    gate.set()
    for door in waiting:
        assert answer(bench, door).status == 'done'
    bench.wait(lambda: bench.pool.outstanding == 0)
    bench.loop.close()


def test_what_cannot_be_noted_or_answered_does_not_cost_the_others(caplog):
    class Troubled(Door):
        def answer(self, request, outcome):
            raise ZeroDivisionError('no answer')

    class Faulty(steps.Step):
        def finish_all(self, several):
            if any(request.id == 'bad' for request, _ in several):
                raise ZeroDivisionError('no note')

    bench = Bench([Faulty()], workers=2)
    bench.submit('change', command_id='bad')
    bench.submit('change', door=Troubled())
    bench.wait(lambda: 'no note' in caplog.text and 'no answer' in caplog.text)

    assert answer(bench, bench.submit('change')).status == 'done'
    requests_ = [admitted(bench, name) for name in ('bad', 'good')]
    for request in requests_:
        request.door = Door()
    done = requests.Outcome(requests.DONE, 1)
    bench.dispatcher._settle_all([(request, done) for request in requests_])

    assert requests_[0].door.log == []
    assert requests_[1].door.log == [done]
    bench.wait(bench.dispatcher.is_settled)
    bench.loop.close()


def test_the_loop_wakes_up_when_all_is_settled():
    bench = Bench()
    bench.submit('change')

    until = time.monotonic() + 29
    while not bench.dispatcher.is_settled():
        assert time.monotonic() < until
        bench.loop.run_once(30)

    assert time.monotonic() < until
    bench.loop.close()
