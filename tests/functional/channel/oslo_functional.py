# SPDX-License-Identifier: Apache-2.0
"""Run oslo.messaging's own functional tests, on threads.

The package of its tests begins with eventlet's monkey patching, and its fixtures ask
for eventlet's executor; programs of today have neither.  The tests of casts count on
their running one after the other, as eventlet's threads do: they get one thread.
"""

import importlib
import importlib.util
import pathlib
import sys
import types
import unittest

from guestagent import imports

imports.refuse('eventlet')

import futurist  # noqa: E402
from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)
futurist.GreenThreadPoolExecutor = futurist.ThreadPoolExecutor

NAME = 'oslo_messaging.tests'
package = types.ModuleType(NAME)
found = importlib.util.find_spec('oslo_messaging')
package.__path__ = [str(pathlib.Path(found.origin).parent / 'tests')]
sys.modules[NAME] = package

if __name__ == '__main__':
    from oslo_config import cfg
    from oslo_messaging import server

    if sys.argv[1:] == ['CastTestCase']:
        cfg.set_defaults(server._pool_opts, executor_thread_pool_size=1)
    unittest.main(importlib.import_module(f'{NAME}.functional.test_functional'))
