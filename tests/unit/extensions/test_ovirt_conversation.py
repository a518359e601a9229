# SPDX-License-Identifier: Apache-2.0
"""Who says what, and when, on the oVirt channel: without a port or a clock."""

import heapq
import itertools
import json
import os
import types

import pytest
from guestagent_ovirt import conf, conversation, port

from guestagent import errors, hookfolder
from guestagent import loop as loops

FACTS = {
    'hostname': 'vm',
    'fqdn': 'vm.example.org',
    'kernel': '6.1.0',
    'architecture': 'x86_64',
    'os_release': {'name': 'Debian GNU/Linux', 'version_id': '12'},
    'time_zone': {
        'zone': 'America/Argentina/Buenos_Aires',
        'abbreviation': '-03',
        'offset': -10800,
        'standard_offset': -10800,
        'dst': False,
    },
    'interfaces': [
        {
            'name': 'eth0',
            'mac': '52:54:00:12:34:56',
            'state': 'up',
            'addresses': [
                {'family': 'inet', 'address': '192.0.2.5', 'prefix': 24},
                {'family': 'inet6', 'address': '2001:db8::5', 'prefix': 64},
            ],
        },
        {'name': 'veth12', 'mac': None, 'state': 'up', 'addresses': []},
        {'name': 'eth1', 'mac': None, 'state': 'down', 'addresses': []},
        {'name': 'lo', 'mac': None, 'state': 'unknown', 'addresses': []},
    ],
    'filesystems': [
        {'mount_point': '/', 'type': 'ext4', 'total': 1000, 'used': 10},
        {'mount_point': '/nfs', 'type': 'nfs4', 'total': None, 'used': None},
        {'mount_point': '/zero', 'type': 'ext4', 'total': 0, 'used': 0},
        {'mount_point': '/tmp', 'type': 'tmpfs', 'total': 5, 'used': 0},
    ],
    'disk_serials': {'data-1': '/dev/vda'},
    'cpus': 2,
    'sessions': [],
    'applications': {'dpkg': {'bash': '5.2'}, 'snap': {'core': '22'}},
    'containers': [
        {
            'engine': 'docker',
            'id': 'c1',
            'names': ['web'],
            'image': 'nginx',
            'program': 'nginx',
            'state': 'running',
            'created': 1,
        }
    ],
    'memory_details': dict.fromkeys(
        ('total', 'free', 'buffers', 'cached', 'swap_total', 'swap_free'), 2**30
    ),
    'memory_counters': {'swap_in': 0, 'swap_out': 0, 'faults': 0, 'major_faults': 0},
}
ALICE = {'user': 'alice', 'seat': 'seat0', 'state': 'active'}
START = [
    'session-startup',
    'active-user',
    'applications',
    'host-name',
    'os-version',
    'network-interfaces',
    'fqdn',
]


class Bench:
    """A conversation whose time and guest the test moves."""

    def __init__(self, hooks=(), refused=()):
        self.now = 0.0
        self.sent = []
        self.asked = []
        self.facts = dict(FACTS)
        self.fail = None
        self._timers = []
        self._order = itertools.count()
        options = types.SimpleNamespace(
            **{option.dest: option.default for option in conf.OPTIONS}
        )
        self.talk = conversation.Conversation(
            options,
            self._send,
            self._ask,
            self._later,
            lambda event: hookfolder.Found([*hooks], [*refused]),
        )

    def _send(self, line):
        said = json.loads(line)
        self.sent.append((self.now, said.pop('__name__'), said))

    def _ask(self, namespace, method, args, then):
        self.asked.append((namespace, method, dict(args)))
        if (namespace, method) == ('monitoring', 'facts'):
            found = {name: self.facts[name] for name in args['names']}
            then({'facts': found, 'problems': {}}, None)
        elif (namespace, method) == ('exec', 'run'):
            code = 0 if 'good' in args['argv'][0] else 3
            then({'exit_code': code, 'timed_out': False, 'stderr': 'no\n'}, None)
        else:
            then(None, self.fail)

    def _later(self, seconds, call):
        timer = loops.Timer(call)
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), timer))
        return timer

    def run(self, seconds):
        """Let time pass."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            self.now, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        self.now = until

    def host(self, name, **fields):
        """Have the host say something; return what is said then."""
        before = len(self.sent)
        self.talk.take(json.dumps({'__name__': name, **fields}).encode() + b'\n')
        return self.sent[before:]

    def names(self):
        return [name for _, name, _ in self.sent]

    def last(self, name):
        return next(said for _, each, said in reversed(self.sent) if each == name)


@pytest.fixture
def bench():
    made = Bench()
    made.talk.begin()
    return made


def test_what_is_said_at_the_start(bench):
    assert bench.names() == START
    assert bench.last('host-name') == {'name': 'vm.example.org'}
    assert bench.last('network-interfaces')['interfaces'] == [
        {
            'name': 'eth0',
            'hw': '52:54:00:12:34:56',
            'inet': ['192.0.2.5'],
            'inet6': ['2001:db8::5'],
        }
    ]
    assert bench.last('applications') == {'applications': ['bash-5.2', 'core-22']}
    assert bench.last('active-user') == {'name': 'None'}


def test_messages_come_on_the_originals_periods(bench):
    bench.run(601)

    times = {}
    for at, name, _ in bench.sent:
        times.setdefault(name, []).append(at)
    assert times['heartbeat'] == [5.0 * n for n in range(1, 121)]
    for name in ('host-name', 'os-version', 'fqdn', 'network-interfaces'):
        assert times[name] == [0.0, 120.0, 240.0, 360.0, 480.0, 600.0], name
    assert times['disks-usage'] == [300.0, 600.0]
    assert times['active-user'] == times['applications'] == [0.0]
    assert 'number-of-cpus' not in times
    assert 'containers' not in times
    assert [said['apiVersion'] for _, name, said in bench.sent if name == 'heartbeat'][
        :3
    ] == [0, 3, 3]


@pytest.mark.parametrize(
    ('version', 'more'),
    [
        (0, set()),
        (1, {'number-of-cpus'}),
        (2, {'number-of-cpus', 'timezone', 'os-info'}),
        (3, {'number-of-cpus', 'timezone', 'os-info', 'containers', 'completion'}),
    ],
)
def test_each_version_gets_its_messages_and_no_others(version, more):
    bench = Bench(hooks=['/hooks/good'])
    bench.talk.begin()
    bench.host('api-version', apiVersion=version)
    bench.host('refresh', apiVersion=3)
    bench.run(301)
    bench.host('lifecycle-event', type='after_migration', reply_id='x')
    bench.host('echo', a=1)
    bench.talk.end()

    assert set(bench.names()) == {
        *START,
        'heartbeat',
        'disks-usage',
        'echo',
        'session-shutdown',
        *more,
    }


def test_a_new_version_brings_a_full_refresh(bench):
    said = bench.host('api-version', apiVersion=3)

    assert [name for _, name, _ in said] == [
        'session-startup',
        'active-user',
        'applications',
        'containers',
        'host-name',
        'os-version',
        'network-interfaces',
        'disks-usage',
        'fqdn',
        'timezone',
        'os-info',
    ]
    assert bench.last('timezone') == {
        'zone': 'America/Argentina/Buenos_Aires',
        'offset': -180,
    }
    assert bench.last('disks-usage') == {
        'disks': [{'path': '/', 'fs': 'ext4', 'total': 1000, 'used': 10}],
        'mapping': {'data-1': {'name': '/dev/vda'}},
    }
    assert bench.last('containers')['list'] == [
        {
            'id': 'c1',
            'names': ['web'],
            'image': 'nginx',
            'command': 'nginx',
            'status': 'running',
        }
    ]
    assert bench.host('api-version', apiVersion=7) == []


def test_a_refresh_without_a_version_comes_from_a_host_that_knows_none(bench):
    bench.host('api-version', apiVersion=3)

    said = [name for _, name, _ in bench.host('refresh')]

    assert 'disks-usage' in said
    assert 'os-info' not in said


def test_sessions_are_told_of_as_they_change(bench):
    bench.facts['sessions'] = [ALICE]
    before = len(bench.sent)

    for event in ('logon', 'lock', 'unlock', 'notified'):
        bench.talk.note_session(event)

    assert [name for _, name, _ in bench.sent[before:]] == [
        'session-logon',
        'active-user',
        'session-lock',
        'session-unlock',
    ]


def test_who_comes_and_goes_is_told_once(bench):
    bench.facts['sessions'] = [{'user': 'bob', 'seat': None, 'state': 'active'}, ALICE]
    bench.run(30)
    bench.facts['sessions'] = []
    bench.run(30)

    assert [(name, said) for _, name, said in bench.sent if name == 'active-user'] == [
        ('active-user', {'name': 'None'}),
        ('active-user', {'name': 'alice'}),
        ('active-user', {'name': 'None'}),
    ]


def test_what_is_installed_is_told_when_it_changes(bench):
    bench.facts['applications'] = {'dpkg': {'bash': '5.3'}}

    bench.run(600)

    assert [said for _, name, said in bench.sent if name == 'applications'][1:] == [
        {'applications': ['bash-5.3']}
    ]


def test_orders_reach_the_extensions_and_failures_the_log(bench, caplog):
    bench.fail = errors.ExtensionUnavailable('there is no sso')

    bench.host('lock-screen')
    bench.host('shutdown', timeout=30, message='bye', reboot='True')
    bench.host('shutdown', message='at once?')
    bench.host('format-disk')

    assert bench.asked[-2:] == [
        ('sso', 'lock', {'all': True}),
        ('power', 'shutdown', {'mode': 'reboot', 'delay': 30, 'message': 'bye'}),
    ]
    assert 'lock-screen, which the host wants, failed: there is no sso' in caplog.text
    assert 'the host asks in vain: shutdown: timeout is None' in caplog.text
    assert "the host sent 'format-disk', which nobody knows" in caplog.text


@pytest.mark.parametrize(
    ('hooks', 'done'),
    [(['/h/10_good', '/h/20_good'], True), (['/h/bad', '/h/good'], False)],
)
def test_the_answer_to_an_event_is_honest(hooks, done):
    bench = Bench(hooks)
    bench.host('api-version', apiVersion=3)

    said = bench.host('lifecycle-event', type='before_migration', reply_id='id-1')

    assert said[-1][1:] == ('completion', {'reply_id': 'id-1', 'done': done})
    assert [args['argv'] for _, method, args in bench.asked if method == 'run'] == [
        [hook] for hook in hooks
    ]
    assert bench.host('lifecycle-event', type='__init__', reply_id='id-2') == []


def test_a_hook_that_is_not_run_makes_the_answer_no_and_the_others_run(caplog):
    bench = Bench(['/h/good'], ['hook /h/open could be changed by others'])
    bench.host('api-version', apiVersion=3)

    for reply in ('id-1', 'id-2'):
        said = bench.host('lifecycle-event', type='after_migration', reply_id=reply)
        assert said[-1][1:] == ('completion', {'reply_id': reply, 'done': False})

    assert ('exec', 'run', {'argv': ['/h/good'], 'timeout': 8}) in bench.asked
    assert caplog.text.count('hook /h/open could be changed by others') == 1


def test_the_number_of_processors_is_told_when_it_is_to_change(bench):
    bench.host('api-version', apiVersion=1)

    assert bench.host('set-number-of-cpus', count=4)[0][1:] == (
        'number-of-cpus',
        {'count': 2},
    )


@pytest.fixture
def pty():
    host, guest = os.openpty()
    import tty

    tty.setraw(guest)
    yield host, guest, os.ttyname(guest)
    for fd in (host, guest):
        try:
            os.close(fd)
        except OSError:
            pass


def test_a_port_outlives_its_host(pty, tmp_path, monkeypatch):
    host, guest, name = pty
    monkeypatch.setattr(port, 'AWAY_SECONDS', 0.05)
    monkeypatch.setattr(port, 'RETRY_SECONDS', 0.05)
    link = tmp_path / 'port'
    loop = loops.Loop()
    read, gone = [], []
    made = port.Port(loop, lambda: str(link), read.append, lambda: gone.append(1))
    made.open()
    assert 'cannot be opened' in made.problem
    link.symlink_to(name)

    def turn(done):
        for _ in range(1200):
            if done():
                return
            loop.run_once(0.05)
        raise AssertionError('it did not come about')

    turn(lambda: not made.problem)
    made.send(b'one\n')
    os.write(host, b'two\n')
    turn(lambda: read == [b'two\n'])
    assert os.read(host, 100) == b'one\n'

    os.close(host)
    os.close(guest)
    turn(lambda: gone)
    for _ in range(3):
        made.send(b'x' * (port.UNSENT_MAX // 2))
    assert made.dropped
    made.close()
    loop.close()
