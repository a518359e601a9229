# SPDX-License-Identifier: Apache-2.0
"""Channels that care hear what extensions report, on the loop."""

import types

import pytest

from guestagent import channel
from guestagent import loop as loops
from guestagent.agent import channels


class Deaf(channel.Channel):
    pass


class Hearing(channel.Channel):
    heard = ()

    def event(self, extension, name, data):
        self.heard = (*self.heard, (extension, name, data))


@pytest.fixture
def loop():
    made = loops.Loop()
    yield made
    made.close()


def test_events_reach_channels_that_have_been_started(loop, tmp_path):
    host = types.SimpleNamespace(state_dir=str(tmp_path / 'state'))
    made = channels.Channels(None, loop, None, None)
    hearing = Hearing('hearing', None, host)
    made._loaded = {'hearing': hearing, 'deaf': Deaf('deaf', None, host)}
    made.tell('desktop', 'lock', {})
    made.start()

    made.tell('desktop', 'unlock', {'session': '1'})
    assert hearing.heard == ()
    loop.run_once(0)
    assert hearing.heard == (('desktop', 'unlock', {'session': '1'}),)

    made.stop()
    made.tell('desktop', 'lock', {})
    loop.run_once(0)
    assert len(hearing.heard) == 1
