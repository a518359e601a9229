# SPDX-License-Identifier: Apache-2.0
"""When periodic methods run for the first time."""

import time

import pytest

from guestagent import extension
from guestagent import loop as loops
from guestagent.agent import periodic, pool, registry


class Looks(extension.Extension):
    """Notes when its methods run."""

    def __init__(self):
        super().__init__('looks', None, extension.Host())
        self.began = time.monotonic()
        self.ran = {}

    @extension.periodic(spacing=3600)
    def at_once(self):
        self.ran.setdefault('at_once', time.monotonic() - self.began)

    @extension.periodic(spacing=3600, immediately=False, first=1)
    def soon(self):
        self.ran.setdefault('soon', time.monotonic() - self.began)

    @extension.periodic(spacing=0.4, immediately=False)
    def after_a_period(self):
        self.ran.setdefault('after_a_period', time.monotonic() - self.began)

    @extension.periodic(spacing=0, immediately=False, first=0.01)
    def never(self):
        self.ran['never'] = 0.0


@pytest.fixture
def loop():
    made = loops.Loop()
    yield made
    made.close()


def test_the_first_run(loop):
    looks = Looks()
    workers = pool.Pool(4, 4)
    periodics = periodic.Periodics(loop, workers)
    periodics.start(registry.Loaded('looks', looks))

    while len(looks.ran) < 3 and time.monotonic() < looks.began + 30:
        loop.run_once(0.05)
    periodics.stop()

    assert set(looks.ran) == {'at_once', 'soon', 'after_a_period'}
    assert looks.ran['at_once'] < looks.ran['soon']
    assert looks.ran['soon'] >= 1
    assert looks.ran['after_a_period'] >= 0.36
