# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
import threading
import time

import pytest
from guestagent_monitoring import extension as monitoring_extension
from guestagent_monitoring import facts

from guestagent import errors, extension
from guestagent.agent import registry

NAMES = [
    'hostname',
    'fqdn',
    'os',
    'kernel',
    'architecture',
    'cpus',
    'boot_time',
    'virtualization',
    'time_zone',
    'memory',
    'swap',
    'nics',
    'filesystems',
    'disk_serials',
]
#: Those that have a period of their own.
OTHERS = [
    'load',
    'cpu_usage',
    'memory_rates',
    'traffic',
    'users',
    'sessions',
    'services',
    'listeners',
    'containers',
    'application_digests',
    'reboot_required',
]


@pytest.fixture
def made(make):
    return make(monitoring_extension.Monitoring, 'monitoring')


@pytest.fixture
def scripted(made):
    """The extension with two facts, whose values are what ``values`` holds."""
    made.values = {
        'memory': {'total': 1000, 'available': 500, 'free': 500},
        'hostname': 'first',
    }

    def tell(name):
        if isinstance(made.values[name], Exception):
            raise made.values[name]
        return made.values[name]

    made.collectors = {name: lambda name=name: tell(name) for name in made.values}
    return made


def test_everything_is_reported_in_what_json_can_carry(made, host):
    made.collect()

    assert list(host.facts[0]) == NAMES
    json.dumps(host.facts[0])
    assert made.health() == 'ok'


def test_a_value_that_moved_a_little_is_reported_as_it_was(scripted, host):
    scripted.collect()
    scripted.values['memory'] = {'total': 1000, 'available': 520, 'free': 490}
    scripted.collect()
    scripted.values['memory'] = {'total': 1000, 'available': 560, 'free': 490}
    scripted.collect()

    assert [facts['memory']['available'] for facts in host.facts] == [500, 500, 560]


def test_refresh_reports_however_little_has_changed(scripted, host):
    scripted.collect()
    scripted.values['memory'] = {'total': 1000, 'available': 520, 'free': 490}

    seen = scripted.refresh(extension.Context())

    assert seen == {'facts': scripted.values, 'problems': {}}
    assert host.facts[-1] == scripted.values
    scripted.collect()
    assert host.facts[-1] == scripted.values


def test_facts_are_those_of_now_and_nothing_is_reported(scripted, host):
    scripted.collect()
    scripted.values['memory'] = {'total': 1000, 'available': 520, 'free': 490}

    seen = scripted.facts(extension.Context())

    assert seen['facts'] == scripted.values
    assert len(host.facts) == 1


@pytest.mark.parametrize(
    ('arguments', 'wanted'),
    [
        ({}, NAMES + OTHERS),
        ({'prefix': 'h'}, ['hostname']),
        ({'names': ['swap', 'memory']}, ['memory', 'swap']),
        ({'prefix': 'm', 'names': ['swap', 'memory']}, ['memory']),
        ({'prefix': 'c', 'names': ['cpu_stats', 'swap']}, ['cpu_stats']),
        ({'names': []}, []),
        ({'prefix': 'x'}, []),
    ],
)
def test_facts_can_be_chosen(made, arguments, wanted):
    assert list(made.facts(extension.Context(), **arguments)['facts']) == wanted


def test_a_fact_that_is_not_there_is_named(made):
    with pytest.raises(errors.InvalidArgument, match="no fact 'drives', but hostname"):
        made.facts(extension.Context(), names=['memory', 'drives'])


@pytest.mark.parametrize(
    'error',
    [OSError(5, 'Input/output error'), ValueError('no number'), KeyError('MemTotal')],
)
def test_a_collector_that_fails_concerns_no_other(scripted, host, caplog, error):
    scripted.collect()
    scripted.values.update(memory=error, hostname='second')
    scripted.collect()
    scripted.collect()

    assert host.facts[-1] == {'hostname': 'second'}
    assert scripted.health() == f'memory: {type(error).__name__}: {error}'
    assert scripted.facts(extension.Context())['problems'] == {
        'memory': f'{type(error).__name__}: {error}'
    }
    assert caplog.text.count('memory cannot be told') == 1

    # A look at another fact does not make it well again; one that succeeds does.
    scripted.facts(extension.Context(), names=['hostname'])
    assert scripted.health() != 'ok'
    scripted.values['memory'] = {'total': 1, 'available': 1, 'free': 1}
    scripted.collect()
    assert scripted.health() == 'ok'
    assert 'memory' in host.facts[-1]


def test_what_is_told_on_demand_is_told_by_name_only(made, host):
    made.collect()
    made.refresh(extension.Context())
    asked = sorted(facts.ON_DEMAND)

    seen = made.facts(extension.Context(), names=asked)

    assert sorted(seen['facts']) == asked
    assert seen['problems'] == {}
    json.dumps(seen)
    assert all(not set(reported) & set(asked) for reported in host.facts)


def test_one_look_at_a_time(scripted, host):
    inside, most = [], []

    def slow():
        inside.append(1)
        time.sleep(0.001)  # a chance for others to come in
        most.append(len(inside))
        inside.pop()
        return 'name'

    scripted.collectors = {'hostname': slow}
    threads = [threading.Thread(target=scripted.collect) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    assert len(host.facts) == 20


def test_without_the_watch_there_is_no_thread(make):
    made = make(monitoring_extension.Monitoring, 'monitoring', watch_changes=False)
    before = threading.active_count()

    made.start()

    assert threading.active_count() <= before
    made.stop()


def test_options_choose_what_is_left_out(make):
    made = make(
        monitoring_extension.Monitoring,
        'monitoring',
        ignored_interfaces=['*'],
        ignored_mounts=['*'],
    )

    assert made.facts(extension.Context(), names=['nics', 'filesystems'])['facts'] == {
        'nics': [],
        'filesystems': [],
    }


def test_each_period_looks_at_its_own(make, host):
    made = make(monitoring_extension.Monitoring, 'monitoring', rates_period=30)

    made.collect_load()
    made.collect_rates()
    made.collect_users()

    assert [list(facts) for facts in host.facts] == [
        ['load', 'cpu_usage'],
        ['memory_rates', 'traffic'],
        ['users', 'sessions'],
    ]


def test_rates_as_frequent_as_the_load_come_in_one_report_with_it(made, host):
    made.collect_rates()
    made.collect_load()

    assert [list(facts) for facts in host.facts] == [
        ['load', 'cpu_usage', 'memory_rates', 'traffic']
    ]


def test_rates_are_told_soon_after_the_start(made, host):
    looks = {name: iter((None, {})) for name in facts.RATES}
    made.collectors = {name: lambda name=name: next(looks[name]) for name in looks}

    made.collect()
    made.collect_rest()

    told = {name: value for each in host.facts for name, value in each.items()}
    assert told == {name: {} for name in facts.RATES}


def test_what_is_off_is_not_looked_at(make, host):
    made = make(
        monitoring_extension.Monitoring,
        'monitoring',
        load_period=0,
        unreported_facts=['os', 'users'],
    )

    made.collect()
    made.collect_users()
    seen = made.refresh(extension.Context())['facts']

    assert list(host.facts[0]) == [name for name in NAMES if name != 'os']
    assert list(host.facts[1]) == ['sessions']
    assert not {'os', 'users', 'load'} & set(seen)
    assert set(
        made.facts(extension.Context(), names=['os', 'users', 'load'])['facts']
    ) == {'os', 'users', 'load'}


def test_the_agent_can_check_and_call_it(made):
    loaded = registry.Loaded('monitoring', made)

    assert {
        name: command.info.mutates for name, command in loaded.commands.items()
    } == {'facts': False, 'refresh': False}
    loaded.commands['facts'].signature.check({'prefix': 'm', 'names': ['memory']})
    assert {info.option: method for method, info in loaded.periodics} == {
        None: made.collect_rest,
        'period': made.collect,
        'load_period': made.collect_load,
        'rates_period': made.collect_rates,
        'users_period': made.collect_users,
        'services_period': made.collect_services,
        'listeners_period': made.collect_listeners,
        'containers_period': made.collect_containers,
        'collectd_period': made.collect_collectd,
        'applications_period': made.collect_applications,
        'updates_period': made.collect_updates,
        'reboot_period': made.collect_reboot,
        'statistics_period': made.collect_statistics,
    }
    assert all(info.jitter > 0 for _, info in loaded.periodics)
    # All at once at the start would take a thread each.
    assert [method for method, info in loaded.periodics if info.immediately] == [
        made.collect
    ]
    assert [method for method, info in loaded.periodics if info.first is not None] == [
        made.collect_rest
    ]


def test_the_rest_is_looked_at_one_after_another(make, host):
    made = make(monitoring_extension.Monitoring, 'monitoring', users_period=0)
    made.collectors = dict.fromkeys([*NAMES, *OTHERS, 'updates'], lambda: None)

    made.collect_rest()

    told = [name for facts in host.facts for name in facts]
    assert told == [name for name in OTHERS if name not in ('users', 'sessions')]
    assert len(host.facts) == 7


#: Modules that an idle agent must not have because of these two extensions.
LIGHT = """
import sys
import guestagent.cmd.agent, guestagent.agent.service, guestagent.bus.amqp
before = set(sys.modules)
import guestagent_exec.extension, guestagent_monitoring.extension
print(*sorted(name for name in set(sys.modules) - before
              if not name.startswith(('guestagent_exec', 'guestagent_monitoring'))
              or name in ('guestagent_exec.run', 'guestagent_exec.program')))
"""


def test_an_idle_agent_imports_nothing_else_for_them():
    done = subprocess.run(
        [sys.executable, '-c', LIGHT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == []


#: The agent of a single channel has an object for options, and pays for what it asks.
BARE = """
import sys, types
from guestagent import extension
from guestagent_monitoring.extension import Monitoring
conf = types.SimpleNamespace(
    watch_changes=False, ignored_interfaces=['lo'], ignored_mounts=[],
    ignored_filesystem_types=[])
monitoring = Monitoring('monitoring', conf, extension.Host())
heavy = {'oslo_config', 'ctypes', 'socket', 'select', 'subprocess', 'json', 'queue'}
print(*sorted(heavy & set(sys.modules)), end=';')
seen = monitoring.facts(extension.Context(), names=['load', 'uname'])
assert len(seen['facts']) == 2, seen
print(*sorted(heavy & set(sys.modules)), end=';')
seen = monitoring.facts(extension.Context(), names=['interfaces', 'mounts', 'users'])
assert len(seen['facts']) == 3, seen
print(*sorted({'oslo_config', 'ctypes'} & set(sys.modules)))
"""


def test_it_works_without_oslo_config_and_imports_what_it_is_asked_for():
    done = subprocess.run(
        [sys.executable, '-c', BARE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stderr, done.stdout) == ('', ';;\n')
