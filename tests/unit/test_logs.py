# SPDX-License-Identifier: Apache-2.0
"""A record of the log as a JSON object."""

import json
import logging
import sys

from guestagent import logs


def made(message, *args, instance=None, error=None):
    info = None
    if error is not None:
        try:
            raise error
        except type(error):
            info = sys.exc_info()
    record = logging.LogRecord(
        'guestagent.thing', logging.WARNING, __file__, 1, message, args, info
    )
    record.created, record.msecs = 1700000000.25, 250.0
    line = logs.JsonFormatter(instance).format(record)
    assert '\n' not in line
    assert line.isascii()
    return json.loads(line)


def test_a_plain_record():
    assert made('%d of %s', 3, 'those') == {
        'time': '2023-11-14T22:13:20.250Z',
        'level': 'WARNING',
        'logger': 'guestagent.thing',
        'message': '3 of those',
    }


def test_lines_and_exotic_characters_stay_in_one_line():
    assert made('a\nb \u2028 \udcff "ä"')['message'] == 'a\nb \u2028 \udcff "ä"'


def test_an_exception_is_told_with_its_traceback():
    entry = made('it broke', error=ValueError('bad\nvalue'))

    assert entry['exception'].startswith('Traceback')
    assert entry['exception'].endswith('ValueError: bad\nvalue')


def test_the_instance_is_the_records_own_or_the_programs():
    assert made('x', instance='vm-1')['instance'] == 'vm-1'
    formatter = logs.JsonFormatter('vm-1')
    record = logging.LogRecord('x', logging.INFO, '', 0, 'x', (), None)
    record.instance = 'vm-2'
    assert json.loads(formatter.format(record))['instance'] == 'vm-2'


def test_a_rate_limit_does_not_grow_with_its_keys(monkeypatch):
    monkeypatch.setattr(logs, 'KEYS_MAX', 10)
    limit = logs.RateLimit()
    for number in range(100):
        assert limit.allow(f'key {number}') == 0
        assert limit.allow(f'key {number}') is None
    assert len(limit._last) <= 10


def test_a_log_file_is_for_its_owner_until_another_program_says_otherwise(tmp_path):
    path = tmp_path / 'log'
    made = logs._File(str(path), encoding='utf-8')
    assert path.stat().st_mode & 0o777 == 0o600
    # Rotated by a program that makes the next file itself,
    path.rename(tmp_path / 'log.1')
    path.touch()
    path.chmod(0o640)
    made.emit(logging.LogRecord('x', logging.INFO, '', 0, 'ż', (), None))
    made.close()
    # it is used as it is.
    assert path.read_text() == 'ż\n'
    assert path.stat().st_mode & 0o777 == 0o640
