# SPDX-License-Identifier: Apache-2.0
"""The pictures of ``guestctl graph``."""

import pathlib

from guestagent.ctl import graph


def test_the_names_that_a_guest_gives_are_no_formulas(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'made.svg'
    points = [[0.0, 1.0], [60.0, 2.0]]

    graph._draw({r'monitoring.custom.$\frac$': points}, 'vm-1: $x$', str(path))

    assert r'<!-- custom.$\frac$ -->' in path.read_text()
