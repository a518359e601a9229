# SPDX-License-Identifier: Apache-2.0
"""Many guests at once, a key that is wrong, and a guest whose clock goes back."""

from __future__ import annotations

import glob
import os
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.trove import backups, guests
from tests.interop.trove import plane as planes

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

#: More than trove-conductor keeps keys of.
COUNT = 11
OPTIONS = {'trove': {'heartbeat_interval': 2}}


@pytest.fixture
def fleet(plane: planes.Plane) -> Iterator[list[guests.Guest]]:
    """Guests with secure RPC and no server; the key of the last one is wrong."""
    made = [guests.Guest(plane, True, options=OPTIONS) for _ in range(COUNT)]
    path = made[-1].config / 'guest_info.conf'
    path.write_text(
        re.sub(r'(?m)(?<=^instance_rpc_encr_key=)\S+', 'x' * 32, path.read_text())
    )
    try:
        for guest in made:
            (guest.folder / 'volume').mkdir()
            guest.launch()
        for guest in made:
            guest.wait_started()
        yield made
    finally:
        for guest in made:
            guest.remove()


def call(fleet: list[guests.Guest], method: str, *more: dict[str, Any]) -> list[Any]:
    """Call all of them at once; return their answers."""
    requests = [
        {'instance': guest.id, 'method': method, **about}
        for guest, about in zip(fleet, more, strict=True)
    ]
    found: list[Any] = fleet[0].plane.ask('call_many', calls=requests)
    return found


def test_many_guests_at_once(fleet: list[guests.Guest]) -> None:
    *good, wrong = fleet
    plane = wrong.plane
    # Given answers to many calls at once, each of the guest that was called,
    applied = call(
        good, 'module_apply', *({'args': {'modules': [module(one)]}} for one in good)
    )
    assert [one[0]['name'] for one in applied] == [guest.id for guest in good]
    # when all of them fail in much while nobody listens,
    plane.conductor.stop()
    refused = {**guests.PREPARE, 'cluster_config': {'id': 'c'}}
    call(fleet, 'prepare', *({'args': refused} for _ in fleet))
    rows = [backups.add(guest) for guest in fleet]
    call(
        fleet,
        'create_backup',
        *(
            {'args': {'backup_info': backups.info(guest, row)}}
            for guest, row in zip(fleet, rows, strict=True)
        ),
    )
    try:
        for guest, row in zip(good, rows, strict=False):
            guest.wait(
                lambda g=guest, r=row: r in g.state().get('backups', {}), 'its end'
            )
    finally:
        plane.start_conductor()
    # then all is known, of all but the one with the wrong key,
    for guest, row in zip(good, rows, strict=False):
        assert backups.wait(guest, row).state == 'FAILED'
        guest.wait_status('failed to spawn')
    # which has done nothing, and changed nothing.
    assert wrong.status() == 'new'
    assert (
        plane.rows('select state from backups where id = %s', rows[-1])[0][0] == 'NEW'
    )
    wrong.wait(
        lambda: 'it is not sealed with the key of this instance' in wrong.log(),
        'it says why',
    )


def has_ended(guest: guests.Guest, backup: str) -> bool:
    """Whether a guest's agent has told how a backup has ended."""
    return backup in guest.state().get('backups', {})


def module(guest: guests.Guest) -> dict[str, Any]:
    """Return a module that is named after a guest."""
    contents = {'type': 'ping', 'contents': 'bWVzc2FnZT14', 'md5': 'x'}
    return {'module': {'id': guest.id, 'name': guest.id, **contents}}


@pytest.fixture
def clock(guest: guests.Guest, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file that says how far the clock of the guest's agent is off."""
    assert guest.agent is not None
    [library] = glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')
    path = tmp_path / 'clock'
    path.write_text('+0')
    guest.agent.stop()
    guest.start(
        {
            **os.environ,
            'LD_PRELOAD': library,
            'FAKETIME_TIMESTAMP_FILE': str(path),
            'FAKETIME_NO_CACHE': '1',
            'FAKETIME_DONT_FAKE_MONOTONIC': '1',
        }
    )
    yield path
    guest.agent.stop()
    guest.start()


@pytest.mark.parametrize('guest', ['secure'], indirect=True)
def test_the_clock_of_a_guest_goes_back(
    guest: guests.Guest, clock: pathlib.Path
) -> None:
    def seen() -> tuple[float, Any]:
        """Return the last heartbeat's stamp, and when Trove has got it."""
        [row] = guest.plane.rows(
            'select sent, updated_at from conductor_lastseen join service_statuses '
            "using (instance_id) where instance_id = %s and method_name = 'heartbeat'",
            guest.id,
        )
        return row

    def wait_newer(than: tuple[float, Any]) -> tuple[float, Any]:
        def newer() -> tuple[float, Any] | None:
            found = seen()
            return found if found[0] > than[0] and found[1] > than[1] else None

        found: tuple[float, Any] = guest.wait(newer, 'a newer heartbeat')
        return found

    clock.write_text('-3600')
    last = first = wait_newer(seen())
    for _ in range(3):
        last = wait_newer(last)
        assert last[0] <= time.time()
    # By no more than they must: else the right time would lock them out.
    assert last[0] - first[0] < 1
    assert guest.status() == 'healthy'
    clock.write_text('+0')
    guest.wait(lambda: seen()[0] > time.time() - 30, 'the right time')
