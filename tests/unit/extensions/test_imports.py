# SPDX-License-Identifier: Apache-2.0
"""What an extension costs that nobody asks for anything."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

#: Of Python's own and of libraries: what takes memory, and what only a command needs.
HEAVY = {'ctypes', 'fcntl', 'json', 'oslo_config', 'pathlib', 'pwd', 'shutil'}
HEAVY |= {'stevedore', 'subprocess'}

SCRIPT = """
import sys
import guestagent.extension
before = set(sys.modules)
import guestagent_{name}.extension
print(*set(sys.modules) - before)
"""


@pytest.mark.parametrize('name', ['accounts', 'fsfreeze', 'hardware', 'power', 'sso'])
def test_an_idle_extension_imports_no_more_than_itself(name):
    # Without site: what makes editable installations work imports much by itself.
    places = [
        str(pathlib.Path(importlib.util.find_spec(package).origin).parents[1])
        for package in ('guestagent', f'guestagent_{name}')
    ]
    done = subprocess.run(
        [sys.executable, '-S', '-c', SCRIPT.format(name=name)],
        env={'PYTHONPATH': ':'.join(places)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = set(done.stdout.split())
    own = {one for one in imported if one.startswith(f'guestagent_{name}')}
    assert own <= {f'guestagent_{name}{part}' for part in ('', '.extension', '.later')}
    assert not imported & HEAVY
