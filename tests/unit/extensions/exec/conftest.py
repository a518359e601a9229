# SPDX-License-Identifier: Apache-2.0
"""The extension, to be asked as a caller asks it."""

import contextlib

import pytest
from guestagent_exec import extension

from tests.unit.extensions.exec import bed


@pytest.fixture
def guest(make):
    """``guest(option=value)``: an extension that is stopped after the test."""
    with contextlib.ExitStack() as stack:

        def started(**options):
            made = make(extension.Exec, 'exec', **{'kill_grace': 0.2, **options})
            stack.callback(made.stop)
            return bed.Guest(made)

        yield started
