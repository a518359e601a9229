# SPDX-License-Identifier: Apache-2.0
"""Trove's own files, in the options of this project."""

import pytest
from guestagent_trove import injected

from guestagent.conf import foreign

GUEST_INFO = """\
[DEFAULT]
guest_id=11111111-2222-3333-4444-555555555555
datastore_manager=mysql
datastore_version=8.4
tenant_id=t
datastore_registry_ext=
replication_strategy=MysqlGTIDReplication
ssl_mode=None
network_isolation=True
instance_rpc_encr_key=not-a-real-key
"""


@pytest.fixture
def read(tmp_path):
    def read(text, info=GUEST_INFO):
        paths = [tmp_path / 'guest_info.conf', tmp_path / 'trove-guestagent.conf']
        paths[0].write_text(info)
        paths[1].write_text(text)
        return injected.read(list(foreign.settings(map(str, paths))))

    return read


def test_what_an_instance_is_comes_from_guest_info(read):
    found = read('[DEFAULT]\ntransport_url = rabbit://\n')

    assert found.defaults[None, 'instance_id'] == '11111111-2222-3333-4444-555555555555'
    assert found.defaults['trove', 'guest_id'] == found.defaults[None, 'instance_id']
    assert found.defaults['trove', 'instance_rpc_encr_key'] == 'not-a-real-key'
    assert found.defaults['trove', 'network_isolation'] is True
    assert found.defaults['trove', 'ssl_mode'] == ''
    assert found.defaults['datastore', 'engine'] == 'mariadb'
    assert found.defaults[None, 'enabled_extensions'] == ['trove', 'datastore']
    assert found.defaults['reports', 'conductor'] is False


def test_the_exchange_is_oslo_messagings_where_nothing_is_said(read):
    assert read('').defaults[None, 'control_exchange'] == 'openstack'


def test_the_managers_section_counts_and_no_others(read):
    found = read(
        '[mysql]\nmount_point = /data\nguest_log_exposed_logs = general, error\n'
        '[postgresql]\nmount_point = /other\n'
    )

    assert found.defaults['datastore', 'mount_point'] == '/data'
    assert found.defaults['trove', 'guest_log_exposed_logs'] == ['general', 'error']
    [warning] = [one for one in found.warnings if 'mount_point' in one]
    assert 'this instance is no postgresql' in warning


def test_backups_are_what_troves_own_agent_can_unpack(read):
    found = read('[DEFAULT]\nbackup_use_gzip_compression = false\n')

    assert found.defaults['datastore', 'backup_compression'] == 'gzip'
    [warning] = [one for one in found.warnings if 'gzip' in one]
    assert '[datastore] backup_compression' in warning


@pytest.mark.parametrize(
    ('text', 'path'),
    [
        ('log_dir = /log', '/log/trove-guestagent.log'),
        ('log_dir = /log\nlog_file = x.log', '/log/x.log'),
        ('log_file = /abs/x.log', None),
    ],
)
def test_the_log_is_where_its_folder_is(read, text, path):
    assert read(f'[DEFAULT]\n{text}\n').values.get((None, 'log_file')) == path


def test_each_option_that_does_not_count_is_one_warning_with_a_reason(read):
    found = read(
        '[DEFAULT]\nreport_interval = 5\nfancy = 1\n'
        '[mysql]\ndocker_image = x\n[service_credentials]\nusername = u\n'
        '[oslo_messaging_rabbit]\nheartbeat_rate = 3\n'
    )
    reasons = {one.split('] ')[1].split(' ')[0]: one for one in found.warnings}

    assert set(reasons) == {
        'datastore_registry_ext',
        'report_interval',
        'fancy',
        'docker_image',
        'username',
    }
    assert '[trove] heartbeat_interval' in reasons['report_interval']
    assert 'no container' in reasons['docker_image']
    assert 'token of the user' in reasons['username']


def test_numbers_and_switches_are_no_text(read):
    found = read('[DEFAULT]\nguest_log_limit = 5000\nswift_api_insecure = yes\n')

    assert found.defaults['datastore', 'log_part_size'] == 5000
    assert found.defaults['datastore', 'swift_insecure'] is True


def test_a_number_that_is_none_is_a_warning(read):
    found = read('[DEFAULT]\nguest_log_limit = many\n')

    assert ('datastore', 'log_part_size') not in found.defaults
    assert any("'many' makes no sense" in one for one in found.warnings)
