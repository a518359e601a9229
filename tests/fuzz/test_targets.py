# SPDX-License-Identifier: Apache-2.0
"""Hostile input for all that reads what others wrote.

``make fuzz`` runs the same for as many inputs as ``FUZZ_INPUTS`` says.
"""

import os
import pathlib
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.fuzz import mutations, registry

#: In all, of which each target gets its part, and how many hypothesis asks for at once.
INPUTS = int(os.environ.get('FUZZ_INPUTS', '20000'))
BATCH = 100

TARGETS = registry.load()
ROUNDS = max(1, INPUTS // len(TARGETS) // BATCH)


@pytest.mark.parametrize('name', TARGETS)
def test_what_is_kept_keeps_the_promises(name: str) -> None:
    for data in TARGETS[name].inputs():
        TARGETS[name].function(data)


@pytest.mark.timeout(180 + INPUTS // 100)
@pytest.mark.parametrize('name', TARGETS)
def test_hostile_input_keeps_the_promises(name: str) -> None:
    seeds, function = TARGETS[name].inputs(), TARGETS[name].function

    @hypothesis.settings(max_examples=ROUNDS, deadline=None, database=None)
    @hypothesis.given(st.binary(max_size=300), st.integers(0))
    def feed(data: bytes, number: int) -> None:
        for each in (data, *mutations.hostile(seeds, number, BATCH - 1)):
            try:
                function(each)
            except Exception as error:
                error.add_note(f'the input was {each!r}')
                raise

    feed()


@pytest.mark.timeout(600)
def test_atheris_finds_nothing_in_a_moment(tmp_path: pathlib.Path) -> None:
    pytest.importorskip('atheris', reason='atheris is not installed (extra "fuzz")')
    run = pathlib.Path(__file__).parent / 'run.py'
    done = subprocess.run(
        [sys.executable, run, '--runs', '5000', '--found', tmp_path],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        env={**os.environ, 'PYTHONHASHSEED': '0'},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert done.stdout.count('no promise was broken') == len(TARGETS)
