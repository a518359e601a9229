# SPDX-License-Identifier: Apache-2.0
"""Real Redis servers, made by the extension's commands."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional.datastore import conftest as parent


@pytest.fixture
def new_redis(tmp_path: pathlib.Path) -> Iterator[Callable[..., Any]]:
    """``new_redis(...)``: a guest with a server, prepared with these arguments."""
    guests: list[Any] = []

    def make(**arguments: Any) -> Any:
        guest = parent.make_guest('redis')
        guests.append(guest)
        guest.stop()
        tmp_path.chmod(0o700)
        guest.options['backup_folder'] = str(tmp_path)
        guest.start()
        guest.call('prepare', memory=64, **arguments)
        return guest

    yield make
    for guest in guests:
        guest.remove()
