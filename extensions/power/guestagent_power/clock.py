# SPDX-License-Identifier: Apache-2.0
"""The guest's clock, and its hardware clock (rtc(4))."""

from __future__ import annotations

import calendar
import fcntl
import os
import pathlib
import struct
import time

from guestagent import errors

#: The hardware clock, and the file that says whether it shows local time (hwclock(8)).
DEVICE = '/dev/rtc0'
ADJUSTMENT = pathlib.Path('/etc/adjtime')

#: The years that a clock may be set to: the kernel knows none before, and timers that
#: it holds overflow not long after.
YEARS = range(1970, 2200)

_NANOSECONDS = 1_000_000_000
#: struct rtc_time: second, minute, hour, day, month, year, and three that count for
#: nothing here; months begin at 0, years at 1900.
_TIME = struct.Struct('9i')
_FROM_DEVICE, _TO_DEVICE = 2 << 30, 1 << 30
#: Where these two are the other way around.
_OTHERS = ('alpha', 'mips', 'ppc', 'sparc')


def set_system(nanoseconds: int) -> None:
    """Set the guest's clock to a time since the beginning of 1970, UTC.

    :raises guestagent.errors.InvalidArgument: no clock can show it.
    :raises guestagent.errors.GuestError: the kernel refuses.
    """
    first = calendar.timegm((YEARS.start, 1, 1, 0, 0, 0)) * _NANOSECONDS
    last = calendar.timegm((YEARS.stop, 1, 1, 0, 0, 0)) * _NANOSECONDS
    if not first <= nanoseconds < last:
        raise errors.InvalidArgument(
            f'nanoseconds: {nanoseconds} is not in the years {YEARS.start} to '
            f'{YEARS.stop - 1}'
        )
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, nanoseconds)
    except OSError as error:
        raise errors.GuestError(f'the clock cannot be set: {error.strerror}') from None


def read_hardware() -> int:
    """Return the time of the hardware clock in nanoseconds since 1970, UTC.

    :raises guestagent.errors.GuestError: there is none, or it shows no time.
    """
    values = bytearray(_TIME.size)
    _control(_FROM_DEVICE, 9, values)
    second, minute, hour, day, month, year, *_ = _TIME.unpack(values)
    shown = (year + 1900, month + 1, day, hour, minute, second)
    if shown[0] not in YEARS:
        raise errors.GuestError(f'the hardware clock shows the year {shown[0]}')
    if _shows_local_time():
        return int(time.mktime((*shown, 0, 0, -1))) * _NANOSECONDS
    return calendar.timegm(shown) * _NANOSECONDS


def write_hardware() -> None:
    """Set the hardware clock to the guest's clock.

    :raises guestagent.errors.GuestError: there is none, or it refuses.
    """
    now = round(time.time())
    shown = time.localtime(now) if _shows_local_time() else time.gmtime(now)
    values = bytearray(
        _TIME.pack(
            *(shown.tm_sec, shown.tm_min, shown.tm_hour),
            *(shown.tm_mday, shown.tm_mon - 1, shown.tm_year - 1900),
            *(0, 0, 0),
        )
    )
    _control(_TO_DEVICE, 10, values)


def _control(direction: int, number: int, values: bytearray) -> None:
    """Have the hardware clock read or fill ``values``."""
    if os.uname().machine.startswith(_OTHERS):
        direction ^= _FROM_DEVICE | _TO_DEVICE
    request = direction | _TIME.size << 16 | ord('p') << 8 | number
    try:
        device = os.open(DEVICE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, request, values)
        finally:
            os.close(device)
    except OSError as error:
        raise errors.GuestError(f'the hardware clock: {error.strerror}') from None


def _shows_local_time() -> bool:
    try:
        return 'LOCAL' in ADJUSTMENT.read_text().splitlines()[2:3]
    except OSError:
        return False  # then it shows UTC
