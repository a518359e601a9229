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
    say(**HELLO)
    for number, _ in zip((1, 2), sys.stdin, strict=False):
        say(type='result', id=number, result=None)
    time.sleep(600)


def silent():
    time.sleep(600)


def other_protocol():
    say(type='hello', protocol=2)
    time.sleep(600)


def no_mutates():
    say(type='hello', protocol=1, commands={'run': {}})
    time.sleep(600)


def unknown_ids():
    for message in requests():
        say(type='result', id=4711, result='whose?')
        say(type='news', text='from a later version')
        say(type='result', id=message['id'], result='mine')


def bad_id():
    for _ in requests():
        say(type='result', id='x', result=None)


globals()[sys.argv[1]]()
