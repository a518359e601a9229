# SPDX-License-Identifier: Apache-2.0
"""All tests with Trove: in one file, for the control plane is slow to start."""

from tests.interop.trove.fleet import *  # noqa: F403
from tests.interop.trove.guest_api import *  # noqa: F403
from tests.interop.trove.server import *  # noqa: F403
from tests.interop.trove.storage import *  # noqa: F403
from tests.interop.trove.volumes import *  # noqa: F403
