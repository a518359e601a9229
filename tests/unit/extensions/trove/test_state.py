# SPDX-License-Identifier: Apache-2.0
"""What is known of an instance after a restart, and the stamps of its messages."""

import pytest
from guestagent_trove import state as states

from guestagent import errors


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def make(tmp_path, clock):
    return lambda: states.State(tmp_path / 'trove', lambda: clock[0])


def test_stamps_are_the_time(make, clock):
    state = make()

    assert state.stamp('heartbeat') == 1000.0
    clock[0] = 1025.5
    assert state.stamp('heartbeat') == 1025.5
    assert state.stamp('update_backup') == 1025.5


def test_stamps_grow_though_the_clock_stands_or_goes_back(make, clock):
    state = make()
    stamps = [state.stamp('heartbeat')]
    for now in (1000.0, 1000.0, 10.0, 999.0):
        clock[0] = now
        stamps.append(state.stamp('heartbeat'))

    assert stamps == sorted(set(stamps))
    # And by no more than they must, or they would lock out those that follow.
    assert stamps[-1] <= 1000.0 + 4 * states.STEP + 1e-6


def test_stamps_grow_over_a_restart(make, clock):
    before = make().stamp('heartbeat')
    clock[0] = 10.0

    assert make().stamp('heartbeat') > before


def test_what_is_noted_survives(make):
    state = make()
    assert state.phase == states.NEW
    state.set(phase=states.READY, restart=True)
    state.end(state.begin({'what': 'a'}))
    state.begin({'what': 'b'})
    again = make()

    assert (again.phase, again.restart) == (states.READY, True)
    assert [work['what'] for work in again.begun().values()] == ['b']


def test_the_file_is_for_its_owner_only(make, tmp_path):
    make().set(phase=states.READY)

    assert (tmp_path / 'trove' / 'state.json').stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_told(make, tmp_path):
    make().set(phase=states.READY)
    (tmp_path / 'trove' / 'state.json').write_text('{')

    with pytest.raises(errors.StorageError, match=r'state\.json'):
        make()


def test_a_backup_is_told_again_at_longer_and_longer_times(make):
    state = make()
    state.keep_backup('b1', {'state': 'COMPLETED'})
    told = [bool(make().backups_to_tell())]
    told += [bool(state.backups_to_tell()) for _ in range(2 * states.AGAIN_MAX)]

    # The first was by another process, of what this one has kept.
    assert [number for number, one in enumerate(told) if one] == [
        0, 1, 2, 4, 8, 16, 32, 64,
    ]  # fmt: skip
