# SPDX-License-Identifier: Apache-2.0
"""What the launcher and the agent say to each other; a start is a functional test's."""

import itertools
import os
import socket
import subprocess
import sys
import threading

import pytest

from guestagent.agent.isolation import launcher, launching, limits

BOUNDS = limits.Limits(memory=512, cpu=0, cpu_time=3600, files=1024)


@pytest.fixture
def line():
    """The agent's line to a launcher with an order that it cannot carry out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    order = launcher.Order(['/nothing'], BOUNDS, launcher.Account(0, 0, []))
    serving = threading.Thread(
        target=launcher.Launcher(theirs, {'weather': order}).serve, daemon=True
    )
    serving.start()
    yield launching.Line(ours)
    ours.close()
    serving.join(30)
    assert not serving.is_alive(), 'the launcher does not end with its line'
    theirs.close()


@pytest.mark.parametrize('groups', [[], [4], [4, 100, 1000]])
@pytest.mark.parametrize(
    'argv', [['/bin/true'], ['/bin/sh', '-c', 'echo "a  b"\n', '', 'ä']]
)
def test_an_order_arrives_as_it_was_given(argv, groups):
    argv = [*argv, os.fsdecode(b'\xff')]
    account = launcher.Account(33, 34, groups)
    data = launcher.Order(argv, BOUNDS, account).pack('weather')
    name, order = launcher.Order.unpack(data)
    assert (name, order.argv) == ('weather', argv)
    assert [getattr(order.bounds, each) for each in limits.Limits.__slots__] == [
        getattr(BOUNDS, each) for each in limits.Limits.__slots__
    ]
    assert (order.account.uid, order.account.gid) == (33, 34)
    assert order.account.groups == groups


@pytest.mark.parametrize(
    'request_',
    [
        ('start', 'sunshine'),
        ('start',),
        ('signal', 1, 9),
        ('signal', os.getpid(), 9),
        ('signal', 'one', 9),
        ('wait', 1),
        ('wait', 10**30),
        ('run', 'weather'),
        ('start', 'weather', 'and', 'more'),
    ],
    # Not by what is in them: each of pytest's workers is another process.
    ids=itertools.count(),
)
def test_what_it_was_not_ordered_is_refused(line, request_, monkeypatch):
    monkeypatch.setattr(launcher.spawn, 'start', _fail)
    for _ in range(2):  # and it goes on
        with pytest.raises(OSError, match=r'no such request|cannot be made'):
            line.ask(*request_)


def test_it_imports_next_to_nothing():
    program = (
        'import sys; from guestagent.agent.isolation import launcher; '
        'print(*sys.modules)'
    )
    done = subprocess.run(
        [sys.executable, '-S', '-c', program],
        env={'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    heavy = {'collections', 'enum', 'json', 'logging', 're', 'socket', 'typing'}
    assert heavy.isdisjoint(done.stdout.split())


def _fail(*_given):
    raise OSError(12, 'cannot be made')
