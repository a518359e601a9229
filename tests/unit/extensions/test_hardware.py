# SPDX-License-Identifier: Apache-2.0
"""CPUs and blocks of memory, of a tree like the kernel's and of this machine."""

import errno
import os
import pathlib

import pytest
from guestagent_hardware import extension as hardware

from guestagent import errors, extension, testing


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A folder that stands in for the kernel's."""
    monkeypatch.setattr(hardware, 'SYSTEM', str(tmp_path))
    return tmp_path


def call(method, **arguments):
    return testing.call(hardware.Hardware, method, **arguments)


def add_cpu(system, number, online=None):
    folder = system / f'cpu/cpu{number}'
    folder.mkdir(parents=True)
    if online is not None:
        (folder / 'online').write_text(f'{online}\n')
    return folder


def add_block(system, number, state='online', removable='1'):
    folder = system / f'memory/memory{number}'
    folder.mkdir(parents=True)
    (folder / 'state').write_text(f'{state}\n')
    if removable is not None:
        (folder / 'removable').write_text(f'{removable}\n')
    return folder


@pytest.fixture
def cpus(system):
    for other in ('cpufreq', 'cpuidle', 'cpu1x'):
        (system / 'cpu' / other).mkdir(parents=True)
    (system / 'cpu/online').write_text('0-1,10\n')
    return [
        add_cpu(system, number, online)
        for number, online in ((10, 1), (0, None), (2, 0), (1, 1))
    ]


def test_cpus_come_by_number(cpus):
    assert call('cpus') == [
        {'id': 0, 'online': True, 'can_offline': False},
        {'id': 1, 'online': True, 'can_offline': True},
        {'id': 2, 'online': False, 'can_offline': True},
        {'id': 10, 'online': True, 'can_offline': True},
    ]


def test_cpus_are_switched_in_order_and_left_alone_where_they_are_right(
    cpus, system, monkeypatch
):
    written = []
    write = os.write
    monkeypatch.setattr(
        os, 'write', lambda file, data: (written.append(data), write(file, data))[1]
    )

    result = call(
        'set_cpus',
        cpus=[
            {'id': 10, 'online': False, 'can_offline': True},
            {'id': 1, 'online': True},
            {'id': 0, 'online': True},
            {'id': 2, 'online': True},
        ],
    )

    assert result == {'changed': 4}
    assert written == [b'0', b'1']
    assert [(cpu['id'], cpu['online']) for cpu in call('cpus')] == [
        (0, True),
        (1, True),
        (2, True),
        (10, False),
    ]


def test_a_cpu_that_fails_ends_it(cpus):
    result = call(
        'set_cpus',
        cpus=[
            {'id': 1, 'online': False},
            {'id': 99, 'online': True},
            {'id': 2, 'online': True},
        ],
    )

    assert result == {
        'changed': 1,
        'error': 'cpus: there is no CPU 99: No such file or directory',
    }
    assert not call('cpus')[2]['online']


@pytest.mark.parametrize(
    ('item', 'message'),
    [
        ({'id': 99, 'online': False}, r'no CPU 99: No such file or directory$'),
        ({'id': 99, 'online': True}, r'no CPU 99: No such file or directory$'),
        ({'id': 0, 'online': False}, 'CPU 0 cannot be taken off line'),
        ({'id': -1, 'online': False}, 'cpus: -1 is no id'),
        ({'id': True, 'online': False}, "an item needs 'id', a number"),
        ({'online': False}, "an item needs 'id', a number"),
        ({'id': 1, 'online': 0}, "item 1 needs 'online', true or false"),
        ({'id': 1}, "item 1 needs 'online', true or false"),
    ],
)
def test_what_no_cpu_can_is_refused(cpus, item, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        call('set_cpus', cpus=[item])


def test_an_item_that_makes_no_sense_changes_nothing(cpus):
    with pytest.raises(errors.InvalidArgument):
        call('set_cpus', cpus=[{'id': 1, 'online': False}, {}])
    assert call('cpus')[1]['online']


def test_the_kernels_refusal_is_told(cpus, monkeypatch):
    def refuse(file, data):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, 'write', refuse)
    with pytest.raises(
        errors.GuestError,
        match=r'^CPU 1 cannot be taken off line: Device or resource busy$',
    ):
        call('set_cpus', cpus=[{'id': 1, 'online': False}])


def test_no_cpus_at_all(system):
    assert call('set_cpus', cpus=[]) == {'changed': 0}
    with pytest.raises(errors.GuestError, match=r': No such file or directory$'):
        call('cpus')


def test_a_cancelled_command_changes_no_more(cpus, system):
    context = extension.Context()
    context.cancel(errors.Cancelled('by the test'))
    for method, arguments in (
        ('set_cpus', {'cpus': [{'id': 1, 'online': False}]}),
        ('set_memory_blocks', {'blocks': [{'index': 1, 'online': False}]}),
    ):
        with pytest.raises(errors.Cancelled):
            call(method, context=context, **arguments)
    assert call('cpus')[1]['online']


def test_blocks_come_by_number(system):
    add_block(system, 12, 'offline')
    add_block(system, 3, removable='0')
    add_block(system, 1, 'going-offline', None)
    (system / 'memory/block_size_bytes').write_text('8000000\n')

    assert call('memory_blocks') == [
        {'index': 1, 'online': False, 'can_offline': False},
        {'index': 3, 'online': True, 'can_offline': False},
        {'index': 12, 'online': False, 'can_offline': True},
    ]
    assert call('memory_block_size') == {'size': 128 * 1024 * 1024}


def test_each_block_has_its_answer(system, monkeypatch):
    add_block(system, 0)
    add_block(system, 1, 'offline')
    add_block(system, 2)
    (add_block(system, 3) / 'state').unlink()
    write = os.write

    def refuse(file, data):
        if os.readlink(f'/proc/self/fd/{file}').endswith('memory2/state'):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return write(file, data)

    monkeypatch.setattr(os, 'write', refuse)
    answers = call(
        'set_memory_blocks',
        blocks=[
            {'index': 2, 'online': False},
            {'index': 0, 'online': False},
            {'index': 1, 'online': False},
            {'index': 3, 'online': False},
            {'index': 2**64 - 1, 'online': True},
        ],
    )

    assert answers == [
        {'index': 2, 'response': 'operation-failed', 'error_code': errno.EBUSY},
        {'index': 0, 'response': 'success'},
        {'index': 1, 'response': 'success'},
        {'index': 3, 'response': 'operation-not-supported', 'error_code': errno.ENOENT},
        {'index': 2**64 - 1, 'response': 'not-found', 'error_code': errno.ENOENT},
    ]
    # One call of the kernel's writes a word; a file keeps what follows it.
    assert (system / 'memory/memory0/state').read_text() == 'offline'


def test_a_kernel_that_cannot_change_its_memory(system):
    assert call('memory_blocks') == []
    assert call('set_memory_blocks', blocks=[{'index': 0, 'online': False}]) == [
        {'index': 0, 'response': 'operation-not-supported'}
    ]
    with pytest.raises(errors.GuestError, match=r': No such file or directory$'):
        call('memory_block_size')
    (system / 'memory').mkdir()
    (system / 'memory/block_size_bytes').write_text('much\n')
    with pytest.raises(errors.GuestError, match='gives no size'):
        call('memory_block_size')


def test_this_machine():
    cpus = call('cpus')
    assert sum(cpu['online'] for cpu in cpus) >= os.sysconf('SC_NPROCESSORS_ONLN')
    blocks = call('memory_blocks')
    if not pathlib.Path('/sys/devices/system/memory').exists():
        assert blocks == []
        return
    size = call('memory_block_size')['size']
    assert size & (size - 1) == 0
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    assert sum(block['online'] for block in blocks) * size >= memory
    # Some CPU, and some block, is as it is asked to be: nothing changes.
    first = cpus[0]
    assert call('set_cpus', cpus=[first]) == {'changed': 1}
    answers = call('set_memory_blocks', blocks=blocks[:1])
    assert answers == [{'index': blocks[0]['index'], 'response': 'success'}]
