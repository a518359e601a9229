# SPDX-License-Identifier: Apache-2.0
"""Run a command in a guest with nothing but oslo.messaging, as a control plane does.

stock_client.py TRANSPORT_URL INSTANCE COMMAND [ARGUMENT ...]
"""

import sys

import oslo_messaging
from oslo_config import cfg

if len(sys.argv) < 4:
    sys.exit(__doc__)
url, instance, *argv = sys.argv[1:]

transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
target = oslo_messaging.Target(
    exchange='guestagent',
    topic=f'guestagent.{instance}',
    namespace='exec',
    version='1.0',
)
client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
print(client.call({}, 'run', argv=argv))
transport.cleanup()
