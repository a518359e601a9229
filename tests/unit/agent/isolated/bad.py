# SPDX-License-Identifier: Apache-2.0
"""Programs that break the protocol, each in a way of its own: bad.py HOW."""

import json
import os
import signal
import sys
import time

HELLO = {
    'type': 'hello',
    'protocol': 1,
    'commands': {'run': {'mutates': False, 'timeout': None}},
}


def say(**message):
    sys.stdout.write(json.dumps(message) + '\n')
    sys.stdout.flush()


def requests():
    """Answer what leads to a call; give the calls."""
    say(**HELLO)
    for line in sys.stdin:
        message = json.loads(line)
        if message['type'] == 'call':
            yield message
        else:
            say(type='result', id=message['id'], result=None)
            if message['type'] == 'stop':
                return


def garbage():
    for _ in requests():
        print('what is this?', flush=True)


def array():
    for _ in requests():
        print('[1, 2]', flush=True)


def closes():
    for _ in requests():
        os.close(1)
        time.sleep(600)


def giant():
    for _ in requests():
        while True:
            sys.stdout.write('x' * 65536)


def half():
    for _ in requests():
        sys.stdout.write('{"type": "res')
        sys.stdout.flush()
        os._exit(0)


def floods():
    """Send events for two seconds, then answer."""
    for message in requests():
        until = time.monotonic() + 2
        while time.monotonic() < until:
            say(type='event', name='flood', data={})
        say(type='result', id=message['id'], result='done')


def unasked():
    """Answer for two seconds what nobody asked, then what was asked."""
    for message in requests():
        until = time.monotonic() + 2
        while time.monotonic() < until:
            say(type='result', id=4711, result='whose?')
        say(type='result', id=message['id'], result='done')


def asks():
    """Ask again and again, and read no answer."""
    for _ in requests():
        for number in range(100000):
            say(type='call', id=number, extension='exec', method='run', args={})
        time.sleep(600)


def asks_oddly():
    for message in requests():
        say(type='call', id=[], **{'for': []}, extension={}, method=1)
        sys.stdin.readline()
        error = {'error': 'ExceptionGroup', 'message': 'odd \ud800'}
        say(type='error', id=message['id'], **error)


def floods_stderr():
    for message in requests():
        for number in range(20000):
            sys.stderr.write(f'line {number} {"x" * 500}\n')
        sys.stderr.flush()
        say(type='result', id=message['id'], result='done')


def ignores_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for message in requests():
        say(type='result', id=message['id'], result=os.getpid())
        while True:
            time.sleep(600)


def forks():
    """Answer with the ids of ten processes that hold the pipes."""
    for message in requests():
        pids = [fork() for _ in range(10)]
        say(type='result', id=message['id'], result=pids)


def escapes():
    """Leave a process in a session of its own that holds the pipes, and end."""
    for message in requests():
        say(type='result', id=message['id'], result=fork(os.setsid))
        time.sleep(0.1)
        os._exit(0)


def fork(first=lambda: None):
    pid = os.fork()
    if not pid:
        first()
        time.sleep(600)
    return pid


def dies():
    """End by a signal that has no name."""
    for _ in requests():
        os.kill(os.getpid(), signal.SIGRTMIN + 3)
        time.sleep(600)


def exits():
    """End at once."""


def exits_later():
    """Say hello and configure, and end when it is to start."""
    say(**HELLO)
    message = json.loads(sys.stdin.readline())
    say(type='result', id=message['id'], result=None)


def hangs():
    """Answer all but the start."""
    say(**HELLO)
    for line in sys.stdin:
        message = json.loads(line)
        if message['type'] == 'configure':
            say(type='result', id=message['id'], result=None)
        elif message['type'] == 'stop':
            return


def never_reads():
    calls = requests()
    next(calls)
    say(type='event', name='deaf', data={})
    time.sleep(600)


def silent():
    time.sleep(600)


def other_protocol():
    say(type='hello', protocol=2)
    time.sleep(600)


def no_mutates():
    say(type='hello', protocol=1, commands={'run': {}})
    time.sleep(600)


def no_option():
    say(type='hello', protocol=1, periodics={'watch': {'option': 'period'}})
    time.sleep(600)


def bad_period():
    about = {'periodics': {'watch': {'option': 'period'}}, 'options': {'period': {}}}
    say(type='hello', protocol=1, **about)
    for line in sys.stdin:
        say(type='result', id=json.loads(line)['id'], result=None)


def takes_a_name():
    say(type='hello', protocol=1, commands={'stop': {'mutates': True}})
    time.sleep(600)


def unknown_ids():
    for message in requests():
        say(type='result', id=4711, result='whose?')
        say(type='news', text='from a later version')
        say(type='result', id=message['id'], result='mine')


def bad_id():
    for _ in requests():
        say(type='result', id='x', result=None)


def bad_percent():
    for message in requests():
        say(type='progress', **{'for': message['id']}, percent='half')


globals()[sys.argv[1]]()
