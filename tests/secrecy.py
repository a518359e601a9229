# SPDX-License-Identifier: Apache-2.0
"""Look through all that a run of the tests has left behind for the secrets it used.

Secrets are the keys in files of keys, which are found by what they look like, and
what tests give as a sensitive argument or take as a sensitive result: :data:`MARKS`.
Each is looked for as it is, as hexadecimal digits and as base64.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
from collections.abc import Iterator

#: In every secret of a test that is no key.
MARKS = ('hunter2',)

#: Servers' own folders: what they keep is not ours, and large.
_SERVERS = re.compile(r'(rabbitmq|postgresql|mariadb|root)\d*\Z')
#: What this project's programs write: logs, and what they keep.
_WRITTEN = re.compile(
    r'\.log(\.\d+)?\Z|\.state/|\.sqlite(-wal)?\Z|/(journal|audit|spool)'
)
_KEY = re.compile(rb'ga[mi]1-([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])')
_LINE = re.compile(rb'\s*(#.*|(commands|reports) \S+ ga[mi]1-\S+( until \S+)?)?\s*')
#: So many different bytes are in any random key; another may stand anywhere by chance.
_DIFFERENT = 12
#: A larger file is no log of a test.
_SIZE_MAX = 64 * 1024 * 1024


def search(folder: pathlib.Path) -> list[str]:
    """Return a line for each secret that stands where none may; no line shows it."""
    found = []
    secrets: dict[bytes, str] = {}
    for mark in MARKS:
        for form in _forms(mark.encode()):
            secrets[form] = f'the mark {mark[:2]}...'
    written = []
    for path, data in _files(folder):
        if all(map(_LINE.fullmatch, data.split(b'\n'))):
            for key in _KEY.findall(data):
                raw = base64.urlsafe_b64decode(key + b'=')
                if len(set(raw)) < _DIFFERENT:
                    found.append(f'{path}: its key is not random, so not looked for')
                    continue
                for form in (key, *_forms(raw)):
                    secrets[form] = f'a key of {path}'
        elif _WRITTEN.search(str(path)):
            written.append((path, data))
    found += (
        f'{path}: {secrets[form]}'
        for path, data in written
        for form in secrets
        if form in data
    )
    return found


def _files(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, bytes]]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _SERVERS.match(name)]
        for name in names:
            path = pathlib.Path(place, name)
            try:
                if path.is_file() and path.stat().st_size <= _SIZE_MAX:
                    yield path, path.read_bytes()
            except OSError:
                continue  # it has just gone


def _forms(secret: bytes) -> set[bytes]:
    """Return a secret as programs may write it."""
    forms = {secret, secret.hex().encode(), repr(secret)[2:-1].encode()}
    for shift in range(3):
        # In the middle of something else; what depends on the neighbours is cut off.
        text = base64.b64encode(b'\0' * shift + secret)
        inner = text[4 if shift else 0 : (shift + len(secret)) // 3 * 4]
        forms |= {inner, inner.replace(b'+', b'-').replace(b'/', b'_')}
    with_escapes = json.dumps(secret.decode('latin-1'))[1:-1].encode()
    return {form for form in (*forms, with_escapes) if len(form) >= 7}
