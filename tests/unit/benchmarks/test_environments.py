# SPDX-License-Identifier: Apache-2.0
"""What must, and must not, be in the environments that are compared."""

import pathlib
import sys

import pytest

from tests.benchmarks import environments


@pytest.fixture(scope='module')
def own():
    return environments.Environment(pathlib.Path(sys.prefix))


def test_what_is_there_is_known_with_its_version(own):
    own.check(has=('pytest',), lacks=('no-such-distribution',))

    assert own.versions['pytest'] == pytest.__version__


@pytest.mark.parametrize(
    ('has', 'lacks', 'said'),
    [
        (('no-such-distribution',), (), 'no-such-distribution is missing'),
        ((), ('pytest',), 'pytest must not be there'),
    ],
)
def test_a_peer_that_is_not_what_is_compared_is_refused(own, has, lacks, said):
    with pytest.raises(environments.BadEnvironment, match=said):
        own.check(has, lacks)


def test_a_program_that_fails_is_an_error_that_names_it(tmp_path):
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho broken >&2\nexit 3\n')
    python.chmod(0o755)

    with pytest.raises(environments.BadEnvironment, match=r'(?s)ended with 3.*broken'):
        environments.Environment(tmp_path)
