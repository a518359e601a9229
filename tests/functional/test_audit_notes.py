# SPDX-License-Identifier: Apache-2.0
"""What a program is given to read, and a pushed file, in the log of a real agent."""

import base64
import hashlib
import json

import pytest

pytestmark = pytest.mark.functional


def records(child):
    lines = (child.state / 'audit.log').read_text().splitlines()
    return [json.loads(line) for line in lines]


def notes(child):
    return [record for record in records(child) if record['kind'] == 'note']


def test_input_and_pushed_files_leave_a_trace(agent, stock_client, tmp_path):
    child = agent(extensions='exec,file', options={'exec': {'isolate': True}})
    programs = stock_client(child.instance, namespace='exec', version='1.1')
    files = stock_client(child.instance, namespace='file', version='1.0')

    started = programs.call({}, 'spawn', shell='sh >/dev/null', keep_stdin=True)
    for part in ('PASSWORD=hunter2\n', 'exit 3\n'):
        programs.call({}, 'write', handle=started['handle'], data=part)
    child.wait_for(lambda: len(notes(child)) == 2, 'its end is recorded')
    path, data = str(tmp_path / 'pushed'), b'hunter2'
    number = files.call({}, 'push_begin', path=path, size=len(data))['push']
    text = base64.b64encode(data).decode()
    files.call({}, 'push_part', push=number, offset=0, data=text)
    files.call({}, 'push_end', push=number)

    found = [(note['command'], note['about']) for note in notes(child)]
    assert found == [
        ('exec.spawn', {**started, 'input': 'begins'}),
        ('exec.spawn', {**started, 'input_bytes': 24}),
        (
            'file.push_end',
            {
                'path': path,
                'size': len(data),
                'sha256': hashlib.sha256(data).hexdigest(),
            },
        ),
    ]
    ids = {one['command']: one['id'] for one in records(child) if 'args' in one}
    assert {note['id'] for note in notes(child)} == {
        ids['exec.spawn'],
        ids['file.push_end'],
    }
    assert child.stop() == 0
    assert 'hunter2' not in (child.state / 'audit.log').read_text()
