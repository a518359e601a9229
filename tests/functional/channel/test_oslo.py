# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging's own functional tests, over ``channel://``."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

RUNNER = pathlib.Path(__file__).parent / 'oslo_functional.py'

#: The two that the library itself skips unless the URL begins with rabbit://: what they
#: look at is tested in the other tests here.
SKIPPED = 2


@pytest.mark.functional
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ('case', 'count', 'skipped'),
    [
        ('CallTestCase', 10, SKIPPED),
        ('CastTestCase', 3, 0),
        ('NotifyTestCase', 7, 0),
        ('MetricsTestCase', 1, 0),
    ],
)
def test_oslo_messagings_own(hub, case, count, skipped):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', RUNNER, case],
        env={
            **os.environ,
            'RPC_TRANSPORT_URL': hub.url,
            'NOTIFY_TRANSPORT_URL': hub.url,
            # One of the tests runs "python3 -m oslo_metrics".
            'PATH': f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}',
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    ran = re.search(r'Ran (\d+) test', done.stderr)
    assert ran is not None
    assert int(ran[1]) == count
    assert f'OK (skipped={skipped})' in done.stderr if skipped else 'OK' in done.stderr
