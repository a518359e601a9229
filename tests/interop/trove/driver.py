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

import trove.cmd  # noqa: F401  # patches the standard library for eventlet
from trove.backup import models as backups
from trove.cmd import common
from trove.common import cfg, notification
from trove.common.context import TroveContext
from trove.guestagent import api
from trove.instance import models, service_status, tasks

CONF = cfg.CONF


def context(values, notify, traits):
    """Return what the API gives to the guest API, with the token of a user."""
    made = TroveContext(
        auth_token='hunter2-token',
        user_id='user-1',
        project_id='tenant-1',
        is_admin=True,
        service_catalog=values.pop('service_catalog', []),
        **values,
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


def backup(instance):
    """Make the row of a backup; return its id."""
    return backups.DBBackup.create(
        id=str(uuid.uuid4()),
        name='b',
        tenant_id='tenant-1',
        state='NEW',
        instance_id=instance,
        deleted=False,
    ).id


def call(instance, method, args, values, notify=None, **traits):
    """Call a method of the guest API."""
    guest = api.API(context(values, notify, traits), instance)
    return getattr(guest, method)(**args)


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
    'call': call,
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
