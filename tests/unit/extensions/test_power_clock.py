# SPDX-License-Identifier: Apache-2.0
"""The clock and the hardware clock; those of this machine are not touched."""

import errno
import fcntl
import os
import struct
import time

import pytest
from guestagent_power import clock, extension

from guestagent import errors, testing

SECOND = 1_000_000_000
#: 2024-02-29 12:34:56.5 UTC.
LEAP = 1709210096 * SECOND + SECOND // 2


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """What the guest's clock was set to."""
    found = []
    monkeypatch.setattr(
        time, 'clock_settime_ns', lambda which, value: found.append((which, value))
    )
    return found


class HardwareClock:
    """Stands in for rtc(4): answers the two requests that count."""

    def __init__(self):
        self.fields = None

    def ioctl(self, file, request, values):
        assert len(values) == 36
        if request == 0x80247009:
            values[:] = struct.pack('9i', *self.fields)
        elif request == 0x4024700A:
            self.fields = struct.unpack('9i', values)
        else:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return 0


@pytest.fixture
def hardware(monkeypatch, tmp_path):
    made = HardwareClock()
    monkeypatch.setattr(clock, 'DEVICE', '/dev/null')
    monkeypatch.setattr(clock, 'ADJUSTMENT', tmp_path / 'adjtime')
    monkeypatch.setattr(os, 'uname', lambda: os.uname_result(['x'] * 4 + ['x86_64']))
    monkeypatch.setattr(fcntl, 'ioctl', made.ioctl)
    return made


@pytest.fixture
def at_leap(monkeypatch):
    monkeypatch.setattr(time, 'time', lambda: LEAP / SECOND)


@pytest.fixture
def in_india(monkeypatch):
    """Half an hour is off everywhere else."""
    monkeypatch.setenv('TZ', 'IST-5:30')
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def call(method, **arguments):
    return testing.call(extension.Power, method, **arguments)


def test_the_time_is_told():
    before = time.time_ns()
    assert before <= call('get_time')['nanoseconds'] <= time.time_ns()


def test_both_clocks_are_set(settings, hardware, at_leap):
    assert call('set_time', nanoseconds=LEAP) == {
        'nanoseconds': LEAP,
        'hardware_clock': True,
        'reason': '',
    }
    assert settings == [(time.CLOCK_REALTIME, LEAP)]
    assert hardware.fields[:6] == (56, 34, 12, 29, 1, 124)


def test_the_clock_is_taken_from_the_hardware(settings, hardware):
    hardware.fields = (56, 34, 12, 29, 1, 124, 0, 0, 0)
    second = LEAP // SECOND * SECOND
    assert call('set_time') == {
        'nanoseconds': second,
        'hardware_clock': True,
        'reason': '',
    }
    assert settings == [(time.CLOCK_REALTIME, second)]


def test_a_hardware_clock_that_shows_local_time(hardware, at_leap, in_india):
    clock.ADJUSTMENT.write_text('0.0 0 0.0\n0\nUTC\n')
    clock.write_hardware()
    assert hardware.fields[1:3] == (34, 12)
    clock.ADJUSTMENT.write_text('0.0 0 0.0\n0\nLOCAL\n')
    clock.write_hardware()
    assert hardware.fields[1:3] == (4, 18)
    assert clock.read_hardware() == LEAP // SECOND * SECOND


def test_some_machines_number_requests_otherwise(hardware, monkeypatch):
    monkeypatch.setattr(os, 'uname', lambda: os.uname_result(['x'] * 4 + ['ppc64le']))
    asked = []
    monkeypatch.setattr(
        fcntl, 'ioctl', lambda _, request, values: asked.append(request)
    )
    clock.write_hardware()
    assert asked == [0x8024700A]


def test_a_guest_without_a_hardware_clock(settings, hardware, monkeypatch, tmp_path):
    monkeypatch.setattr(clock, 'DEVICE', str(tmp_path / 'none'))
    problem = 'the hardware clock: No such file or directory'
    assert call('set_time', nanoseconds=LEAP) == {
        'nanoseconds': LEAP,
        'hardware_clock': False,
        'reason': problem,
    }
    settings.clear()
    with pytest.raises(errors.GuestError, match=f'^{problem}$'):
        call('set_time')
    assert settings == []


@pytest.mark.parametrize(
    'value',
    [
        -1,
        7258118400 * SECOND,  # 2200-01-01
        2**63 - 1,
        -(2**63),
        10**30,
    ],
)
def test_a_time_that_no_clock_shows(settings, hardware, value):
    with pytest.raises(
        errors.InvalidArgument, match=f'{value} is not in the years 1970 to 2199'
    ):
        call('set_time', nanoseconds=value)
    assert settings == []
    assert hardware.fields is None


def test_the_last_moment_that_counts(settings, hardware):
    last = 7258118400 * SECOND - 1
    call('set_time', nanoseconds=last)
    assert settings == [(time.CLOCK_REALTIME, last)]


def test_a_hardware_clock_that_was_never_set(settings, hardware):
    hardware.fields = (0, 0, 0, 1, 0, 0, 0, 0, 0)  # 1900
    with pytest.raises(errors.GuestError, match=r'clock shows the year 1900$'):
        call('set_time')
    assert settings == []


def test_the_kernels_refusal_is_told(hardware, monkeypatch):
    def refuse(which, value):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(time, 'clock_settime_ns', refuse)
    with pytest.raises(
        errors.GuestError, match=r'^the clock cannot be set: Operation not permitted$'
    ):
        call('set_time', nanoseconds=LEAP)
    assert hardware.fields is None
