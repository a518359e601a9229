# SPDX-License-Identifier: Apache-2.0
"""What the files say that Trove injects into an instance.

They are guest_info.conf and the copy of the operator's trove-guestagent.conf.

Every option there is honoured, of no concern to a guest, or named in one warning that
says what replaces it.  Names that the agent has too, as transport_url and all of
[oslo_messaging_rabbit], are read by the agent itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from guestagent.conf import foreign

#: Of a datastore manager in Trove, the engine that does it.
ENGINES = {'mysql': 'mariadb', 'mariadb': 'mariadb', 'postgresql': 'postgresql'}

#: Options that the agent has under the same name and section.
_AGENT = frozenset(
    ('transport_url', 'control_exchange', 'debug', 'use_json', 'log_file', 'log_dir')
)
_AGENT_SECTIONS = frozenset(('oslo_messaging_rabbit',))

#: Options of DEFAULT that [trove] has under the same name.
_TROVE = frozenset(
    (
        'guest_id',
        'instance_rpc_encr_key',
        'datastore_manager',
        'datastore_version',
        'replication_strategy',
        'ssl_mode',
        'network_isolation',
        'conductor_queue',
        'storage_strategy',
        'swift_service_type',
        'swift_endpoint_type',
        'os_region_name',
    )
)

#: Options of DEFAULT that [datastore] has under this name.
_DATASTORE = {
    'state_change_wait_time': 'state_change_wait_time',
    'device_path': 'device_path',
    'storage_strategy': 'backup_storage',
    'swift_url': 'swift_url',
    'swift_api_insecure': 'swift_insecure',
    'backup_swift_container': 'backup_container',
    'guest_log_container_name': 'log_container',
    'guest_log_limit': 'log_part_size',
    'guest_log_expiry': 'log_keep',
}

#: Options that are no text.
_NUMBERS = frozenset(('state_change_wait_time', 'guest_log_limit', 'guest_log_expiry'))
_SWITCHES = frozenset(('network_isolation', 'swift_api_insecure'))

#: Options of the manager's own section, and where they count here.
_MANAGER = {
    'mount_point': ('datastore', 'mount_point'),
    'device_path': ('datastore', 'device_path'),
    'database_service_uname': ('datastore', 'user'),
    'guest_log_exposed_logs': ('trove', 'guest_log_exposed_logs'),
    'replication_strategy': ('trove', 'replication_strategy'),
}

#: What replaces an option that is not honoured.
_REPLACED = {
    'docker_image': 'the server is a package of the system, no container',
    'backup_docker_image': "backups are made by [datastore]'s own code, no container",
    'container_registry': 'there are no containers',
    'container_registry_username': 'there are no containers',
    'container_registry_password': 'there are no containers',
    'docker_bridge_network_ip': 'there are no containers',
    'docker_insecure_registries': 'there are no containers',
    'database_service_uid': 'the package of the server makes its account',
    'database_service_gid': 'the package of the server makes its account',
    'tcp_ports': '[datastore] port',
    'udp_ports': '[datastore] port',
    'backup_strategy': 'the engine knows how to make its backups',
    'backup_use_gzip_compression': '[datastore] backup_compression, here gzip',
    'backup_aes_cbc_key': '[datastore] backup_key_file',
    'backup_chunk_size': 'backups are a stream',
    'volume_fstype': 'the volume is formatted as ext4',
    'format_options': "the volume is formatted with the tool's own defaults",
    'volume_format_timeout': 'formatting takes as long as it takes',
    'mount_options': 'the volume is mounted with defaults,noatime',
    'report_interval': '[trove] heartbeat_interval',
    'agent_heartbeat_time': '[trove] heartbeat_interval',
    'state_change_poll_time': 'the server is asked as often as is needed',
    'state_healthy_counts': 'the server is healthy when it answers queries',
    'command_process_timeout': 'each command has its own limit',
    'sql_query_logging': 'statements are in no log, they hold passwords',
    'ignore_users': "the engine's own list",
    'ignore_dbs': "the engine's own list",
    'root_grant': 'root has all rights',
    'root_grant_option': 'root has all rights',
    'default_password_length': 'passwords are as long as they must be',
    'guest_log_long_query_time': '[datastore] parameters long_query_time and others',
    'wal_archive_location': 'the engine keeps its own archive on the volume',
    'datastore_registry_ext': '[datastore] engine',
    'rpc_conn_pool_size': 'the agent has one connection',
    'rpc_response_timeout': 'the agent calls nobody',
    'executor_thread_pool_size': '[dispatcher] workers',
    'module_types': 'modules of the type ping',
    'log_config_append': '[DEFAULT] log_file, log_format and debug',
    'default_log_levels': '[DEFAULT] debug',
    'logging_context_format_string': '[DEFAULT] log_format',
    'logging_default_format_string': '[DEFAULT] log_format',
    'use_syslog': '[DEFAULT] log_file, or standard error',
    'use_stderr': '[DEFAULT] log_file, or standard error',
}

#: Sections, likewise.
_REPLACED_SECTIONS = {
    'service_credentials': 'the guest uses the token of the user who asks',
    'database': 'a guest has no database of the control plane',
    'profiler': 'nothing is traced',
}

#: What is in the files and concerns no guest.
_OF_NO_CONCERN = frozenset(
    ('tenant_id', 'guest_config', 'guest_info', 'injected_config_location')
)


def read(settings: Sequence[foreign.Setting]) -> foreign.Reading:
    """Return what stands in the files, in the options of this project."""
    default = {one.name: one.values[-1] for one in settings if one.section == 'DEFAULT'}
    manager = default.get('datastore_manager', '')
    defaults: dict[tuple[str | None, str], Any] = {
        (None, 'enabled_extensions'): ['trove', 'datastore'],
        # oslo.messaging's, which holds where Trove's file says nothing.
        (None, 'control_exchange'): 'openstack',
        ('reports', 'conductor'): False,
        ('datastore', 'engine'): ENGINES.get(manager, manager),
        # What trove-guestagent cannot unpack it takes for a restore of nothing.
        ('datastore', 'backup_compression'): 'gzip',
    }
    if default.get('guest_id'):
        defaults[None, 'instance_id'] = default['guest_id']
    warnings = []
    for setting in settings:
        places = _places(setting, manager)
        if places:
            try:
                defaults.update(dict.fromkeys(places, _value(setting)))
            except ValueError:
                warnings.append(
                    f'{setting.file}: [{setting.section}] {setting.name}: '
                    f'{setting.values[-1]!r} makes no sense, so it does not count'
                )
        elif not _is_known(setting):
            warnings.append(_warning(setting, manager))
    values = _log_file(default)
    if values:
        defaults['trove', 'log_file'] = values[None, 'log_file']
    elif 'log_file' in default:
        defaults['trove', 'log_file'] = default['log_file']
    return foreign.Reading(values, defaults, warnings)


def _places(setting: foreign.Setting, manager: str) -> list[tuple[str, str]]:
    """Return which options of ours a setting is."""
    places = []
    if setting.section == 'DEFAULT':
        if setting.name in _TROVE:
            places.append(('trove', setting.name))
        if setting.name in _DATASTORE:
            places.append(('datastore', _DATASTORE[setting.name]))
    elif setting.section == manager and setting.name in _MANAGER:
        places.append(_MANAGER[setting.name])
    return places


def _value(setting: foreign.Setting) -> Any:
    """Return a value; defaults are not parsed as what stands in a file is."""
    text = setting.values[-1].strip()
    if setting.name in _SWITCHES:
        return text.lower() in ('true', '1', 'on', 'yes')
    if setting.name == 'guest_log_exposed_logs':
        return [word.strip() for word in text.split(',') if word.strip()]
    if setting.name in _NUMBERS:
        return int(text)
    # What Trove has no value for it writes as Python prints it.
    return '' if text == 'None' else text


def _is_known(setting: foreign.Setting) -> bool:
    if setting.section in _AGENT_SECTIONS:
        return True
    return setting.section == 'DEFAULT' and (
        setting.name in _AGENT or setting.name in _OF_NO_CONCERN
    )


def _warning(setting: foreign.Setting, manager: str) -> str:
    reason = _REPLACED_SECTIONS.get(setting.section) or _REPLACED.get(setting.name)
    if reason is None:
        other = setting.section in ENGINES and setting.section != manager
        reason = (
            f'this instance is no {setting.section}'
            if other
            else 'this agent has no use for it'
        )
    return (
        f'{setting.file}: [{setting.section}] {setting.name} does not count: {reason}'
    )


def _log_file(default: Mapping[str, str]) -> dict[tuple[str | None, str], Any]:
    """Return where the log goes, if a folder is named."""
    folder = default.get('log_dir')
    if not folder:
        return {}
    name = default.get('log_file') or 'trove-guestagent.log'
    return {(None, 'log_file'): os.path.join(folder, name)}
