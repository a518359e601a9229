# SPDX-License-Identifier: Apache-2.0
"""Users' files of keys."""

from __future__ import annotations

import base64
import contextlib

from guestagent_accounts import keylines

from guestagent import errors
from tests.fuzz import registry

_SSH = 'ssh-ed25519 ' + base64.b64encode(b'\0\0\0\x0bssh-ed25519' + bytes(4)).decode()


@registry.target(
    f'# mine\nno-pty,command="a \\"b c" {_SSH} me\n'.encode(),
    f'{_SSH}\n\n{_SSH} \xff'.encode('latin-1'),
)
def authorized_keys(data: bytes) -> None:
    """A user's file: what is no key, or another, stays; what is added can be taken."""
    lines = data.decode('utf-8', 'surrogateescape').split('\n')
    for line in lines:
        parsed = keylines.parse(line)
        assert parsed is None or parsed.key.blob in line
    left = keylines.without(lines, [_SSH])
    assert [line for line in lines if line in left] == left
    assert keylines.added(left, [_SSH]) == [_SSH]
    assert keylines.without([*left, f'no-pty {_SSH} me'], [_SSH]) == left
    with contextlib.suppress(errors.InvalidArgument):
        for line in keylines.check(lines):
            assert '\n' not in line
            assert keylines.parse(line) is not None
