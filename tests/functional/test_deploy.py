# SPDX-License-Identifier: Apache-2.0
"""A host deploys an extension with nothing but the primitives of qemu-ga's channel.

It pushes the package, installs it, names it in the configuration and has the agent read
that again; then the extension answers, and the agent has not been restarted.
"""

import base64
import shutil
import sys
import time
import zipfile

import pytest

from tests.functional import conftest
from tests.interop.qga import agents

pytestmark = pytest.mark.functional

MODULE = """
from guestagent import extension


class Greeter(extension.Extension):
    @extension.command(mutates=False)
    def greet(self, context: extension.Context, name: str) -> str:
        return f'hello, {name}'
"""
PIECE = 48 * 1024


class Host:
    """What a host does over the channel: files, programs and no more."""

    def __init__(self, path):
        self._client = agents.Client(path)

    def _ask(self, command, **arguments):
        answer = self._client.ask(command, **arguments)
        assert 'return' in answer, answer
        return answer['return']

    def push(self, data, path):
        handle = self._ask('guest-file-open', path=str(path), mode='wb')
        for start in range(0, len(data), PIECE):
            text = base64.b64encode(data[start : start + PIECE]).decode()
            self._ask('guest-file-write', handle=handle, buf_b64=text)
        self._ask('guest-file-flush', handle=handle)
        self._ask('guest-file-close', handle=handle)

    def run(self, *argv):
        pid = self._ask(
            'guest-exec', path=argv[0], arg=list(argv[1:]), capture_output=True
        )['pid']
        until = time.monotonic() + 120
        while not (ended := self._ask('guest-exec-status', pid=pid))['exited']:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert ended['exitcode'] == 0, base64.b64decode(ended.get('err-data', ''))

    def close(self):
        self._client.close()


def wheel(folder):
    """Return the bytes of an extension's package."""
    path = folder / 'guestagent_greeter-1.0-py3-none-any.whl'
    about = 'guestagent_greeter-1.0.dist-info'
    files = {
        'guestagent_greeter.py': MODULE,
        f'{about}/METADATA': 'Metadata-Version: 2.1\nName: guestagent-greeter\n'
        'Version: 1.0\n',
        f'{about}/WHEEL': 'Wheel-Version: 1.0\nGenerator: test\n'
        'Root-Is-Purelib: true\nTag: py3-none-any\n',
        f'{about}/entry_points.txt': '[guestagent.extensions]\n'
        'greeter = guestagent_greeter:Greeter\n',
        f'{about}/RECORD': '',
    }
    with zipfile.ZipFile(path, 'w') as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.read_bytes()


def test_a_host_deploys_an_extension_through_primitives(agent, stock_client, tmp_path):
    packages = tmp_path / 'packages'
    shutil.copytree(conftest.PROBE, packages)
    guest = agent(
        extensions='exec,file,probe',
        packages=packages,
        options={
            'DEFAULT': {'enabled_channels': 'qga'},
            'qga': {'method': 'unix-listen', 'path': tmp_path / 'qga.socket'},
        },
    )
    host = Host(tmp_path / 'qga.socket')
    before = guest.pid

    pushed = tmp_path / 'guestagent_greeter-1.0-py3-none-any.whl'
    made = tmp_path / 'build'
    made.mkdir()
    host.push(wheel(made), pushed)
    pip = (sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install')
    host.run(*pip, '--no-index', '--no-deps', '--target', str(packages), str(pushed))
    # The agent's own files are out of reach of the extension file.
    name = r's/^enabled_extensions = .*/&,greeter/'
    host.run('/bin/sed', '-i', name, str(guest.config))
    host.run('/bin/kill', '-HUP', str(guest.pid))

    guest.wait_line('loaded and started: greeter')
    greeter = stock_client(guest.instance, namespace='greeter')
    assert greeter.call({}, 'greet', name='host') == 'hello, host'
    assert guest.pid == before
    host.close()
