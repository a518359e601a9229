# SPDX-License-Identifier: Apache-2.0
"""Facts that are told on demand: on samples, and beside what the system says itself."""

import json
import os
import pathlib
import platform
import shutil
import struct
import subprocess
import time

import pytest
from guestagent_monitoring.collectors import counters, naming, nics, routes, users

ROUTE = (
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow'
    '\tIRTT   \n'
    'eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t1400\t0\t7      \n'
    'eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0      \n'
)
ROUTE6 = (
    'fd000000000000000000000000000000 40 00000000000000000000000000000000 00 '
    'fd000000000000000000000000000001 00000400 00000003 0000000a 00000003     eth0\n'
)


def test_routes_of_a_sample(tree):
    first, second, third = routes.routes(
        tree({'proc/net/route': ROUTE, 'proc/net/ipv6_route': ROUTE6})
    )

    assert first == {
        'version': 4,
        'iface': 'eth0',
        'destination': '0.0.0.0',
        'prefix_length': 0,
        'metric': 100,
        'flags': 3,
        'refcnt': 0,
        'use': 0,
        'mask': '0.0.0.0',
        'gateway': '192.0.2.1',
        'mtu': 1400,
        'window': 0,
        'irtt': 7,
    }
    assert (second['destination'], second['mask'], second['prefix_length']) == (
        '192.0.2.0',
        '255.255.255.0',
        24,
    )
    assert third == {
        'version': 6,
        'iface': 'eth0',
        'destination': 'fd00::',
        'prefix_length': 64,
        'metric': 1024,
        'flags': 3,
        'refcnt': 3,
        'use': 10,
        'source': '::',
        'source_prefix_length': 0,
        'next_hop': 'fd00::1',
    }


def test_a_guest_without_ipv6_has_no_routes_of_it(tree):
    assert len(routes.routes(tree({'proc/net/route': ROUTE}))) == 2


def test_routes_that_make_no_sense(tree):
    with pytest.raises(ValueError, match='unpack'):
        routes.routes(tree({'proc/net/route': 'eth0\tfew\n'}))


@pytest.mark.skipif(shutil.which('ip') is None, reason='iproute2 is not installed')
def test_the_real_routes_are_those_of_iproute2():
    told = json.loads(
        subprocess.run(['ip', '-j', 'route'], capture_output=True, check=True).stdout
    )

    assert {
        (item['iface'], f'{item["destination"]}/{item["prefix_length"]}')
        for item in routes.routes()
        if item['version'] == 4
    } == {
        (
            item['dev'],
            {'default': '0.0.0.0/0'}.get(item['dst'], item['dst'])
            + ('' if '/' in item['dst'] or item['dst'] == 'default' else '/32'),
        )
        for item in told
    }


def test_processors_and_disks_of_a_sample(tree):
    root = tree(
        {
            'proc/stat': 'cpu  3 2 1 4 0 0 0 0 0 0\ncpu1 1 2 3 4 5 6 7 8 9 10\nintr\n',
            'proc/diskstats': '   8       1 sda1 1 2 3 4 5 6 7 8 9 10 11\n'
            ' 254 0 vda ' + ' '.join(map(str, range(1, 18))) + ' 99\n',
            'proc/loadavg': '0.25 1.00 12.50 2/345 678\n',
        }
    )

    (cpu,) = counters.cpu_stats(root)
    old, new = counters.disk_stats(root)

    tick = 1000 // os.sysconf('SC_CLK_TCK')
    assert (cpu['cpu'], cpu['user'], cpu['guest_nice']) == (1, tick, 10 * tick)
    assert (old['name'], old['major'], old['minor']) == ('sda1', 8, 1)
    assert (old['stats']['read_ios'], old['stats']['weight_ticks']) == (1, 11)
    assert 'discard_ios' not in old['stats']
    assert new['stats']['discard_ios'] == 12
    assert new['stats']['flush_ticks'] == 17
    assert counters.load(root) == {'load1m': 0.25, 'load5m': 1.0, 'load15m': 12.5}


def test_the_real_counters():
    assert [item['cpu'] for item in counters.cpu_stats()] == sorted(
        os.sched_getaffinity(0)
    )
    before = os.times()
    assert counters.cpu_stats()[0]['user'] >= 0
    assert before.elapsed > 0
    assert set(counters.load()) == {'load1m', 'load5m', 'load15m'}
    names = {item['name'] for item in counters.disk_stats()}
    assert names >= {
        name for name in os.listdir('/sys/block') if name.startswith(('vd', 'sd'))
    }


def test_the_real_interfaces_count_and_loopback_is_among_them():
    before = _proc_net_dev()
    found = {nic['name']: nic for nic in nics.interfaces()}
    after = _proc_net_dev()

    assert set(found) == set(before)
    for name, nic in found.items():
        for key, count in nic['counters'].items():
            assert before[name][key] <= count <= after[name][key]
        assert nic['hardware_address'] == (
            pathlib.Path('/sys/class/net', name, 'address').read_text().strip() or None
        )


def _proc_net_dev():
    found = {}
    for line in pathlib.Path('/proc/net/dev').read_text().splitlines()[2:]:
        name, _, rest = line.partition(':')
        figures = list(map(int, rest.split()))
        found[name.strip()] = dict(
            zip(
                (
                    f'{way}_{what}'
                    for way in ('rx', 'tx')
                    for what in ('bytes', 'packets', 'errs', 'dropped')
                ),
                figures[0:4] + figures[8:12],
                strict=True,
            )
        )
    return found


@pytest.mark.parametrize(
    ('hostname', 'hosts', 'wanted'),
    [
        ('web.example.org', '', 'web.example.org'),
        ('web', '127.0.1.1 web.example.org web\n', 'web.example.org'),
        ('web', '# 1.2.3.4 web.no web\n::1 localhost web web.example.org # x\n', None),
        ('web', '127.0.0.1 localhost\n\n10.0.0.1 webmail.example.org webmail\n', None),
        ('web', None, None),
    ],
)
def test_the_full_name_as_the_guest_itself_knows_it(tree, hostname, hosts, wanted):
    root = tree(
        {
            'proc/sys/kernel/hostname': hostname + '\n',
            **({} if hosts is None else {'etc/hosts': hosts}),
        }
    )
    if hosts and '::1' in hosts:
        wanted = 'web.example.org'

    assert naming.fqdn(root) == wanted


def test_all_that_os_release_says(tree):
    root = tree({'etc/os-release': 'ID=fedora\nVARIANT="Server Edition"\nX_Y=1\n'})

    assert naming.os_release(root) == {
        'id': 'fedora',
        'variant': 'Server Edition',
        'x_y': '1',
    }
    assert naming.os_release(tree({}) + '/none') is None
    assert naming.os_release()['id'] == platform.freedesktop_os_release()['ID']
    assert naming.uname()['version'] == platform.version()


@pytest.mark.parametrize(
    ('files', 'wanted'),
    [
        (
            {
                'etc/localtime': pathlib.Path(
                    '../usr/share/zoneinfo/America/Argentina/Buenos_Aires'
                )
            },
            'America/Argentina/Buenos_Aires',
        ),
        (
            {'etc/localtime': pathlib.Path('/usr/share/zoneinfo/posix/Asia/Kolkata')},
            'Asia/Kolkata',
        ),
        ({'etc/localtime': 'TZif', 'etc/timezone': 'Europe/Vienna\n'}, 'Europe/Vienna'),
        ({'etc/localtime': 'TZif'}, None),
    ],
)
def test_the_whole_name_of_the_zone(tree, files, wanted):
    assert naming.time_zone(tree(files))['zone'] == wanted


@pytest.fixture
def zone(monkeypatch):
    def change(value):
        monkeypatch.setenv('TZ', value)

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ('value', 'standard'),
    [('America/Argentina/Buenos_Aires', -10800), ('Asia/Kolkata', 19800)],
)
def test_offsets_of_a_zone_without_summer_time(zone, tree, value, standard):
    zone(value)

    found = naming.time_zone(tree({}))

    assert found['zone'] == value
    assert found['offset'] == found['standard_offset'] == standard
    assert found['dst'] is False


def test_summer_time_is_told_apart(zone, tree):
    # It is summer there from a month ago until a month from now.
    today = time.gmtime().tm_yday
    zone(f'STD-1DST-2,J{(today - 31) % 365 + 1},J{(today + 29) % 365 + 1}')

    assert naming.time_zone(tree({})) == {
        'zone': None,
        'abbreviation': 'DST',
        'offset': 7200,
        'standard_offset': 3600,
        'dst': True,
    }


SESSION = """\
# This is private data. Do not parse.
UID=1000
USER=alice
ACTIVE=1
IS_DISPLAY=1
STATE=active
REMOTE=0
TYPE=wayland
CLASS=user
SEAT=seat0
TTY=tty2
SERVICE=gdm-password
LEADER=812
REALTIME=1700000000500000
MONOTONIC=12345
"""


def test_sessions_and_users_of_logind(tree):
    root = tree(
        {
            'run/systemd/sessions/c1': 'UID=110\nUSER=gdm\nCLASS=greeter\n',
            'run/systemd/sessions/2': SESSION,
            'run/systemd/sessions/2.ref': '',
            'run/systemd/sessions/10': 'UID=1000\nUSER=alice\nCLASS=user\nTYPE=tty\n'
            'REMOTE=1\nREMOTE_HOST=192.0.2.9\nTTY=pts/0\nREALTIME=1600000000000000\n',
            'run/systemd/sessions/11': 'UID=0\nUSER=root\nCLASS=user\n'
            'REALTIME=1800000000000000\n',
        }
    )

    first, second, third = users.sessions(root)

    assert first == {
        'id': '2',
        'user': 'alice',
        'uid': 1000,
        'login_time': 1700000000.5,
        'host': None,
        'seat': 'seat0',
        'tty': 'tty2',
        'display': None,
        'type': 'wayland',
        'service': 'gdm-password',
        'state': 'active',
        'leader': 812,
    }
    assert (second['id'], second['host']) == ('10', '192.0.2.9')
    assert third['user'] == 'root'
    assert users.users(root) == [
        {
            'user': 'alice',
            'uid': 1000,
            'login_time': 1600000000.0,
            'host': '192.0.2.9',
            'seat': None,
            'tty': 'pts/0',
            'sessions': 2,
        },
        {
            'user': 'root',
            'uid': 0,
            'login_time': 1800000000.0,
            'host': None,
            'seat': None,
            'tty': None,
            'sessions': 1,
        },
    ]


def _record(kind, pid, line, user, host, seconds, wide):
    record = struct.pack(
        '=hxxi32s4s32s256shh' + ('qqq' if wide else 'iii') + '16s20s',
        *(kind, pid, line, b'ts/0', user, host, 0, 0),
        *(77, seconds, 250000, b'', b''),
    )
    return record.ljust(400 if wide else 384, b'\0')


@pytest.mark.parametrize('wide', [False, True])
def test_users_of_utmp_where_there_is_no_logind(tree, monkeypatch, wide):
    monkeypatch.setattr(users, '_WIDE_MACHINES', (os.uname().machine,) * wide)
    root = tree(
        {
            'run/systemd/sessions/.keep': '',
            'proc/501/comm': 'sshd',
            'proc/502/comm': 'login',
            'run/utmp': _record(2, 0, b'~', b'reboot', b'6.1', 1, wide)
            + _record(7, 501, b'pts/1', b'bob', b'192.0.2.7', 1700000000, wide)
            + _record(7, 502, b':0', b'x' * 32, b':0', 1700000001, wide)
            + _record(7, 599, b'pts/9', b'dead', b'', 1700000002, wide)
            + _record(8, 501, b'pts/2', b'', b'', 1700000003, wide)
            + b'half a record',
        }
    )

    first, second = users.sessions(root)

    assert first['display'] == ':0'
    assert first['user'] == 'x' * 32
    assert {key: second[key] for key in ('user', 'login_time', 'host', 'tty')} == {
        'user': 'bob',
        'login_time': 1700000000.25,
        'host': '192.0.2.7',
        'tty': 'pts/1',
    }
    assert [user['user'] for user in users.users(root)] == ['bob', 'x' * 32]


def test_nobody_is_logged_in(tree):
    assert users.users(tree({})) == []
