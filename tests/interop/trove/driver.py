# SPDX-License-Identifier: Apache-2.0
"""Trove's control plane for tests: its real guest API and models.

Run by the Python of the environment that has Trove in it, with Trove's own arguments
(``--config-file``).  Each line of the standard input is ``{op, ...}`` as JSON, each
line of the standard output ``{result}`` or ``{error, message}``.
"""

import json
import os
import sys
import types
import uuid

import eventlet
import trove.cmd  # noqa: F401  # patches the standard library for eventlet
from trove.backup import models as backups
from trove.cmd import common
from trove.common import cfg, clients, notification
from trove.common.context import TroveContext
from trove.guestagent import api
from trove.instance import models, service_status, tasks
from trove.taskmanager import models as taskmanager
from troveclient.v1 import instances

CONF = cfg.CONF


def context(values, notify, traits):
    """Return what the API gives to the guest API, with the token of a user."""
    values = {'auth_token': 'hunter2-token', 'service_catalog': [], **values}
    made = TroveContext(
        user_id='user-1', project_id='tenant-1', is_admin=True, **values
    )
    if notify:
        made.notification = getattr(notification, notify)(
            made,
            request_id=made.request_id,
            server_type='api',
            client_ip='192.0.2.7',
            server_ip='192.0.2.8',
            tenant_id='tenant-1',
            **traits,
        )
    return made


def create(secure, manager, version):
    """Make an instance as the API does; return its id and the files for it."""
    CONF.set_override('enable_secure_rpc_messaging', secure)
    made = models.DBInstance.create(
        name='db', tenant_id='tenant-1', task_status=tasks.InstanceTasks.BUILDING
    )
    models.InstanceServiceStatus.create(
        instance_id=made.id, status=service_status.ServiceStatuses.NEW
    )
    info = types.SimpleNamespace(
        id=made.id,
        tenant_id='tenant-1',
        datastore_registry_ext='',
        datastore_repl_strategy='Replication',
        db_info=made,
        addresses=[],
    )
    files = models.BaseInstance.get_injected_files(info, manager, version)
    return {'id': made.id, 'files': files}


def backup(instance, storage):
    """Make the row of a backup; return its id."""
    return backups.DBBackup.create(
        id=str(uuid.uuid4()),
        name='b',
        tenant_id='tenant-1',
        state='NEW',
        instance_id=instance,
        storage_driver=storage,
        deleted=False,
    ).id


def find_backup(backup, values):
    """Return whether a backup's object is the one of its row, as before a restore."""
    found = backups.DBBackup.find_by(id=backup)
    return found.check_location_exist(context(values, None, {}), True)


def delete_backup(backup, values):
    """Delete a backup, as the task manager does."""
    taskmanager.BackupTasks.delete_backup(context(values, None, {}), backup)


def swift_url(values):
    """Return what the task manager tells the guest of Swift."""
    return clients.create_swift_client(context(values, None, {})).url


def read_log(log, values):
    """Return a log that is published, as ``openstack database log save`` does."""

    class Logs(instances.Instances):
        def _get_container_info(self, instance, log_name):
            return log['container'], log['prefix'], log['metafile']

    swift = clients.create_swift_client(context(values, None, {}))
    return ''.join(Logs(None).log_generator(None, log['name'], 0, swift)())


def call(instance, method, args, values, notify=None, **traits):
    """Call a method of the guest API."""
    guest = api.API(context(values, notify, traits), instance)
    return getattr(guest, method)(**args)


def call_many(calls):
    """Call many at once; return their results in order, or what failed."""

    def one(request):
        try:
            return call(values={}, **request)
        except Exception as error:  # noqa: BLE001 (told to the test)
            return f'{type(error).__name__}: {error}'

    return list(eventlet.GreenPool(len(calls)).imap(one, calls))


def methods():
    """Return the names of all methods of the guest API."""
    return [
        name
        for name, value in vars(api.API).items()
        if callable(value) and not name.startswith('_') and name != 'get_client'
    ]


def status(instance):
    """Return an instance's status, as the API reads it."""
    found = models.InstanceServiceStatus.find_by(instance_id=instance)
    return found.status.description


OPERATIONS = {
    'methods': methods,
    'create': create,
    'backup': backup,
    'find_backup': find_backup,
    'delete_backup': delete_backup,
    'swift_url': swift_url,
    'read_log': read_log,
    'call': call,
    'call_many': call_many,
    'context': lambda: context({}, None, {}).to_dict(),
    'status': status,
}


def main():
    """Serve until the standard input ends."""
    answers = os.fdopen(os.dup(1), 'w', buffering=1)
    # What logs to the standard output must not be between the answers.
    os.dup2(2, 1)
    common.initialize()
    print(json.dumps({'result': 'ready'}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {'result': OPERATIONS[request.pop('op')](**request)}
        except Exception as error:  # noqa: BLE001 (told to the test)
            answer = {'error': type(error).__name__, 'message': str(error)}
        print(json.dumps(answer), file=answers)


if __name__ == '__main__':
    main()
