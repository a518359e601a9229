# SPDX-License-Identifier: Apache-2.0
"""A machine with a seat, for tests of those who sit there."""

from collections.abc import Iterator

import pytest

from tests.functional.sso import desktops


@pytest.fixture(scope='module')
def machine() -> Iterator[desktops.Desktop]:
    with desktops.running() as running:
        yield running


@pytest.fixture
def seat(
    machine: desktops.Desktop, monkeypatch: pytest.MonkeyPatch
) -> Iterator[desktops.Desktop]:
    """The machine's seat, at which nobody is; its bus is the system's for the test."""
    monkeypatch.setenv('DBUS_SYSTEM_BUS_ADDRESS', machine.address)
    yield machine
    machine.clear()
