# SPDX-License-Identifier: Apache-2.0
"""What programs write and read while they run, with real processes."""

import base64
import subprocess

import pytest
from guestagent_exec import output

from guestagent import errors


def test_output_comes_while_it_runs(guest):
    here = guest()
    handle = here.spawn(
        shell='echo one; read x; echo two $x >&2; read y; echo three', keep_stdin=True
    )['handle']

    assert here.until(handle, b'one\n') == b'one\n'
    here.write(handle, 'a\n')
    part = here.poll(handle, {'stdout': 4}, wait=30)
    assert base64.b64decode(part['stderr']['data']) == b'two a\n'
    assert (part['stdout']['data'], part['stdout']['eof']) == ('', False)
    here.write(handle, 'b\n', close=True)
    assert here.end(handle)['exit_code'] == 0
    last = here.read(handle, offset=4, wait=30)
    assert (base64.b64decode(last['data']), last['eof']) == (b'three\n', True)


def test_a_reader_loses_nothing_however_much_there_is(guest):
    here = guest(kept_limit_max=100_000)
    size = 5_000_000
    handle = here.spawn(
        shell=f'seq 1 {size} | head -c {size}', output_limit=100_000, timeout=60
    )['handle']
    seen, part = bytearray(), {'eof': False, 'next': 0}
    while not part['eof']:
        part = here.read(handle, offset=part['next'], wait=10, count=70_000)
        assert part['lost'] == 0
        # The window, and at the end a pipe.
        assert part['total'] - part['offset'] <= 100_000 + (256 + 1024) * 1024
        seen += base64.b64decode(part['data'])

    whole = subprocess.run(
        f'seq 1 {size} | head -c {size}', shell=True, stdout=subprocess.PIPE
    ).stdout
    assert bytes(seen) == whole
    # The first bytes and the last are kept for whoever comes later.
    assert here.text(handle, count=4 * 2**20)[:100_000] == whole[:100_000]
    later = here.read(handle, offset=100_000, count=4 * 2**20)
    assert 0 < later['lost'] <= size - 100_000 - 256 * 1024
    assert base64.b64decode(later['data']) == whole[100_000 + later['lost'] :]
    assert here.status(handle)['stdout_truncated']


def test_a_program_that_nobody_reads_does_not_wait(guest):
    here = guest()
    handle = here.spawn(
        shell='head -c 5000000 /dev/zero; head -c 3000000 /dev/zero >&2',
        output_limit=1000,
    )['handle']

    status = here.end(handle)

    assert (status['exit_code'], status['stdout_bytes']) == (0, 5_000_000)
    assert len(here.text(handle, count=1000)) == 1000


def test_a_reader_that_does_not_come_back_is_not_waited_for(guest, monkeypatch):
    monkeypatch.setattr(output, 'READER_SECONDS', 1.0)
    here = guest()
    handle = here.spawn(argv=['head', '-c', '5000000', '/dev/zero'], output_limit=10)[
        'handle'
    ]
    here.read(handle, wait=10, count=1)

    assert here.end(handle)['stdout_bytes'] == 5_000_000


def test_who_reads_slowly_has_all_that_a_program_wrote_before_it_ended(guest):
    here = guest()
    handle = here.spawn(shell='head -c 300000 /dev/zero; echo end', output_limit=10)[
        'handle'
    ]
    here.read(handle, wait=10, count=1)

    # It need not wait for the reader.
    assert here.end(handle)['stdout_bytes'] == 300_004
    last = here.read(handle, offset=1, count=2**20)
    assert last['lost'] == 0
    assert base64.b64decode(last['data']).endswith(b'\0end\n')


def test_the_slowest_of_two_readers_counts(guest):
    here = guest()
    handle = here.spawn(argv=['yes'], output_limit=10)['handle']

    def go_on(reader, offset, until):
        while offset < until:
            part = here.read(handle, offset=offset, wait=30, reader=reader, count=2**16)
            assert part['lost'] == 0
            offset = part['next']
        return offset

    slow = go_on('slow', 0, 1)
    fast = go_on('fast', 0, slow + 100_000)
    slow = go_on('slow', slow, fast + 100_000)
    go_on('fast', fast, slow)


def test_what_all_keep_together_is_bounded(guest):
    here = guest(kept_total=1000)
    first = here.spawn(argv=['head', '-c', '600', '/dev/zero'])['handle']
    here.end(first)
    second = here.spawn(argv=['head', '-c', '600000', '/dev/zero'])['handle']
    assert here.end(second)['stdout_truncated']
    assert here.read(second, offset=0)['lost'] == 0
    assert 0 < here.read(second, offset=400)['lost'] <= 600_000 - 256 * 1024 - 400
    here.forget(first)
    here.forget(second)
    third = here.spawn(argv=['head', '-c', '1000', '/dev/zero'])['handle']
    assert not here.end(third)['stdout_truncated']


@pytest.mark.parametrize(
    ('capture', 'stdout', 'stderr'),
    [
        ('separated', 'o\n', 'e\n'),
        ('merged', 'o\ne\n', ''),
        ('stdout', 'o\n', ''),
        ('stderr', '', 'e\n'),
        ('none', '', ''),
    ],
)
def test_what_is_captured(guest, capture, stdout, stderr):
    done = guest().run(shell='echo o; echo e >&2; exit 4', capture=capture)

    assert (done['stdout'], done['stderr'], done['exit_code']) == (stdout, stderr, 4)


def test_input_in_parts_and_half_closed(guest):
    here = guest()
    handle = here.spawn(argv=['sort'], stdin='c\n', keep_stdin=True)['handle']

    assert here.write(handle, 'b\n') == {'offset': 2, 'complete': True, 'open': True}
    # Sent again because the answer was lost.
    here.write(handle, 'b\n', offset=0)
    here.write(handle, 'b\na\n', offset=0)
    assert here.write(handle, close=True) == {
        'offset': 4,
        'complete': True,
        'open': False,
    }
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle) == b'a\nb\nc\n'
    assert here.write(handle, 'a\n', offset=2)['complete']
    with pytest.raises(errors.GuestError, match=r'or no more: Broken pipe$'):
        here.write(handle, 'more')


def test_input_is_bounded_where_nobody_reads_it(guest, tmp_path):
    here = guest()
    handle = here.spawn(
        shell=f'until [ -e {tmp_path}/go ]; do sleep 0.02; done; wc -c',
        keep_stdin=True,
        timeout=60,
    )['handle']
    data = 'x' * 1_500_000

    taken = here.write(handle, data, offset=0, wait=0.1)
    assert not taken['complete']
    assert 2**20 <= taken['offset'] < 1_500_000
    (tmp_path / 'go').touch()
    while not here.write(handle, data, offset=0, wait=10, close=True)['complete']:
        pass
    assert here.end(handle)['exit_code'] == 0
    assert here.text(handle) == b'1500000\n'


@pytest.mark.parametrize('program', ['exec 0<&-; echo closed; sleep 600', 'exit 0'])
def test_input_that_nobody_wants_is_an_error(guest, program):
    here = guest()
    handle = here.spawn(shell=program, keep_stdin=True)['handle']

    def write():
        for _ in range(100):
            here.write(handle, 'x' * 100_000, wait=0.2)

    with pytest.raises(errors.GuestError, match='Broken pipe'):
        write()
