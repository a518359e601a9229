# SPDX-License-Identifier: Apache-2.0
"""What stands in for the extension ``datastore`` and for the agent around ``trove``."""

from guestagent import extension, testing

NOTIFICATION = {'notification_classname': 'some.Class', 'tenant_id': 't'}
CONTEXT = {
    'user_id': 'me',
    'auth_token': 'hunter2',
    'service_catalog': [
        {'type': 'object-store', 'endpoints': [{'publicURL': 'http://swift/v1/AUTH_t'}]}
    ],
    'trove_notification': NOTIFICATION,
}
MIB = 1024**2
STATS = {
    'block_size': 4096,
    'total_blocks': 10,
    'free_blocks': 5,
    'avail_blocks': 4,
    'total': 3 * 1024 * MIB,
    'free': 1024 * MIB,
    'used': 1536 * MIB,
}


class Datastore(testing.Host):
    """Answers as datastore would, and notes what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.results = {
            'status': {'state': 'healthy', 'restart_required': []},
            'root_status': {'enabled': False},
            'volume_stats': STATS,
        }

    def call(self, extension, method, arguments, context):
        assert extension == 'datastore'
        self.asked.append((method, dict(arguments)))
        result = self.results.get(method)
        if isinstance(result, Exception):
            raise result
        return result

    def told(self, method):
        """Return the arguments of the casts of this method."""
        return [one['args'] for one in self.casts if one['method'] == method]

    def statuses(self):
        return [one['payload']['service_status'] for one in self.told('heartbeat')]


def call(guest, method, **arguments):
    return testing.call(guest, method, context=context(), **arguments)


def context():
    return extension.Context(values=CONTEXT)
