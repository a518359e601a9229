# SPDX-License-Identifier: Apache-2.0
"""What a command does with its context."""

import pytest

from guestagent import extension


@pytest.mark.parametrize(
    ('told', 'kept'),
    [
        ((40, 'disk 2 of 5'), (40.0, 'disk 2 of 5')),
        ((None, 'no idea'), (None, 'no idea')),
        ((), (None, '')),
        ((-1,), (0.0, '')),
        ((100.5,), (100.0, '')),
        ((10**400,), (100.0, '')),
        ((float('nan'),), (0.0, '')),
        ((0, 'two\nlines\t and  more'), (0.0, 'two lines and more')),
        ((0, 'x' * 1000), (0.0, 'x' * extension.PROGRESS_MAX)),
    ],
)
def test_progress_is_bounded(told, kept):
    context = extension.Context()

    context.report_progress(*told)

    assert context.progress == kept
