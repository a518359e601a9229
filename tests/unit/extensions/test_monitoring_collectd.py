# SPDX-License-Identifier: Apache-2.0
"""collectd's values beside the built-in ones, and a collectd that talks nonsense."""

import contextlib
import socket
import threading
import time

import pytest
from guestagent_monitoring import collectd
from guestagent_monitoring import extension as monitoring_extension

from guestagent import extension

ANSWERS = {
    'LISTVAL': (
        '5 Values found\n1.5 web/load/load\n1.5 web/queue-Mail out/gauge-x\n'
        '1.5 web/uptime/uptime\n1.5 web/a"b\\/gauge\n1.5 web/gone/gauge\n'
    ),
    'GETVAL "web/load/load"': '3 Values found\nshort=5e-01\nmid=NaN\nlong=-inf\n',
    'GETVAL "web/queue-Mail out/gauge-x"': '1 Value found\nvalue=1.200000e+01\n',
    'GETVAL "web/uptime/uptime"': '1 Value found\nvalue=100\n',
    'GETVAL "web/a\\"b\\\\/gauge"': '1 Value found\nvalue=1\n',
    'GETVAL "web/gone/gauge"': '-1 No such value.\n',
}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'unixsock')


@pytest.fixture
def serve(path):
    """``serve(answer)``: a collectd; ``answer(question)`` returns text or None."""
    with contextlib.ExitStack() as stack:

        def started(answer):
            listener = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            )
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=talk, args=(listener, answer))
            thread.start()
            stack.callback(thread.join, 30)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)

        yield started


def talk(listener, answer):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            # A client may leave while it is answered.
            with (
                contextlib.suppress(OSError),
                connection,
                connection.makefile('rb') as lines,
            ):
                for line in lines:
                    said = answer(line.decode().rstrip('\n'))
                    if said is None:
                        break
                    connection.sendall(said.encode())


def listing(names):
    lines = ''.join(f'1 {name}\n' for name in names)
    return f'{len(names)} Values found\n{lines}'


def numbers(told):
    return {key: each and each['value'] for key, each in told.items()}


def test_values_are_told_by_their_keys(serve, path):
    serve(ANSWERS.__getitem__)
    values = collectd.Values(path, ['*'])

    told = values.look()

    assert values.problems == {}
    assert told == values.values()
    assert told['collectd.uptime.uptime'] == {
        'value': 100.0,
        'type': 'number',
        'unit': None,
    }
    assert numbers(told) == {
        'collectd.load.load.short': 0.5,
        'collectd.queue-mail_out.gauge-x': 12,
        'collectd.uptime.uptime': 100,
        'collectd.a_b_.gauge': 1,
    }


def test_only_what_moves_is_told_and_what_has_gone(serve, path):
    answers = dict(ANSWERS)
    serve(lambda question: answers[question])
    values = collectd.Values(path, ['uptime/*', 'load/load'])
    assert set(values.look()) == {'collectd.load.load.short', 'collectd.uptime.uptime'}

    answers['GETVAL "web/uptime/uptime"'] = '1 Value found\nvalue=105\n'
    assert values.look() == {}
    answers['GETVAL "web/uptime/uptime"'] = '1 Value found\nvalue=106\n'
    assert numbers(values.look()) == {'collectd.uptime.uptime': 106}
    answers['LISTVAL'] = listing(['web/load/load'])
    assert values.look() == {'collectd.uptime.uptime': None}
    answers['GETVAL "web/load/load"'] = '1 Value found\nshort=nan\n'
    assert values.look() == {'collectd.load.load.short': None}
    assert values.values() == {}


def test_there_are_no_more_than_so_many(serve, path):
    names = [f'web/many-{number:04}/gauge' for number in range(3000)]
    asked = []

    def answer(question):
        asked.append(question)
        if question == 'LISTVAL':
            return listing(names)
        return '2 Values found\nvalue=1\nother=2\n'

    serve(answer)
    values = collectd.Values(path, ['many-*'])

    assert len(values.look()) == collectd.COUNT_MAX
    assert len(asked) == collectd.COUNT_MAX + 1
    assert 'let collectd_values name fewer' in values.problems['collectd']


def test_no_key_is_that_of_two_values_or_too_long(serve, path):
    long = f'web/{"x" * 127}/{"y" * 127}'
    names = ['web/a b/gauge', 'web/a_b/gauge', long]
    serve(
        lambda question: (
            listing(names) if question == 'LISTVAL' else '1 Value found\nvalue=1\n'
        )
    )
    values = collectd.Values(path, ['*'])

    assert list(values.look()) == ['collectd.a_b.gauge']
    assert sorted(values.problems.values()) == [
        'collectd has two values that would have this key',
        'its key has more than 200 characters',
    ]


class Script:
    """A connection that says what a test lets it, some bytes at a time."""

    def __init__(self, said, size=65536):
        self._said = said
        self._size = size

    def settimeout(self, seconds):
        assert 0 < seconds <= collectd.SECONDS

    def sendall(self, data):
        assert data.endswith(b'\n')

    def recv(self, size):
        size = min(size, self._size)
        part, self._said = self._said[:size], self._said[size:]
        return part


@pytest.mark.parametrize(
    ('hosts', 'found'),
    [
        (['other'], 'other'),
        (['other', 'WEB.example.org'], 'WEB.example.org'),
        (['web', 'web2', 'other'], 'web'),
    ],
)
@pytest.mark.parametrize('size', [1, 65536])
def test_the_values_are_those_of_this_host(hosts, found, size):
    names = [f'{host}/load/gauge-{host}' for host in hosts]
    script = Script(f'{listing(names)}1 Value found\nvalue=1\n'.encode(), size)

    told, problems = collectd.read(script, ['*'], 'web.example.org')

    assert told == {f'collectd.load.gauge-{found}'.lower(): 1.0}
    assert problems == {}


@pytest.mark.parametrize(
    ('said', 'words'),
    [
        (b'', 'it has hung up'),
        (b'1 Value found\n1 web/loa', 'it has hung up'),
        (b'\x00\xff\x1b[2J\n', r"it answers '\x00\udcff\x1b[2J'"),
        (b'-1 Unknown command: LISTVAL\n', 'Unknown command'),
        (b'999999999 Values found\n', 'more than 20000 lines'),
        (b'9999999999 Values found\n', "it answers '9999999999"),
        (b'x' * 10**6, 'a line of more than 4096 bytes'),
        (b'20000 Values found\n' + 20000 * (b'1 h/x/' + 300 * b'x' + b'\n'), '4194304'),
        (b'2 Values found\n1 a/b/c\n1 b/b/c\n', '2 hosts: 0 are called'),
        (b'1 Value found\n1 h/p/t\n1 Value found\nvalue\n', 'could not convert'),
        (b'1 Value found\n1 h/p/t\nhello\n', "it answers 'hello'"),
    ],
)
def test_nonsense_is_refused(said, words):
    with pytest.raises((OSError, ValueError)) as caught:
        collectd.read(Script(said), ['*'], 'web')

    assert words in str(caught.value)


@pytest.mark.parametrize('said', ['', '1', None])
def test_one_that_hangs_or_hangs_up_keeps_its_values(serve, path, monkeypatch, said):
    answers = [ANSWERS.__getitem__]
    serve(lambda question: answers[0](question))
    values = collectd.Values(path, ['*'])
    before = values.look()
    answers[0] = lambda question: said
    monkeypatch.setattr(collectd, 'SECONDS', 0.2)

    assert values.look() == {}
    assert values.problems['collectd'].startswith(f'{path}: ')
    assert values.values() == before

    answers[0] = ANSWERS.__getitem__
    monkeypatch.setattr(collectd, 'SECONDS', 30.0)
    assert values.look() == {}
    assert values.problems == {}


def test_one_that_never_stops_is_left_in_time(monkeypatch):
    monkeypatch.setattr(collectd, 'SECONDS', 0.1)

    class Endless(Script):
        def recv(self, size):
            time.sleep(0.02)
            return b'1'

    with pytest.raises(TimeoutError, match=r'has not answered within 0\.1 seconds'):
        collectd.read(Endless(b''), ['*'], 'web')


def test_they_are_reported_beside_the_others(make, host, serve, path, tmp_path):
    folder = tmp_path / 'statistics.d'
    folder.mkdir(mode=0o755)
    (folder / 'a.conf').write_text('[it]\ncommand = echo 1\n')
    made = make(
        monitoring_extension.Monitoring,
        'monitoring',
        statistics_dir=str(folder),
        collectd_socket=path,
        collectd_values=['uptime/uptime'],
    )

    made.collect_collectd()
    assert made.health().startswith(f'statistics.collectd: {path}: ')
    serve(ANSWERS.__getitem__)
    made.collect_statistics()
    made.collect_collectd()

    assert made.health() == 'ok'
    seen = made.facts(extension.Context(), names=['statistics'])['facts']['statistics']
    assert numbers(seen) == {'it': 1, 'collectd.uptime.uptime': 100}
    assert host.facts[-1] == {
        'statistics.collectd.uptime.uptime': seen['collectd.uptime.uptime']
    }


def test_unless_it_is_named_it_is_not_asked(make, host):
    made = make(monitoring_extension.Monitoring, 'monitoring')

    made.collect_collectd()

    assert made._collectd is None
    assert host.facts == []
