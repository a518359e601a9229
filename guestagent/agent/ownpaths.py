# SPDX-License-Identifier: Apache-2.0
"""The files of the agent's own that no caller may reach through an extension."""

from __future__ import annotations

import os
from typing import Any


def find(conf: Any) -> list[str]:
    """Return full paths of files and folders: state, keys, policy, configuration.

    In the folder of the state, and while it is frozen in the other, are journal, audit
    log, spool and replay window.

    :param conf: with the options of :mod:`guestagent.conf.agent` registered.
    """
    found = [
        conf.state_dir,
        conf.freeze.folder,
        conf.seal.key_file,
        conf.policy.file,
        conf.enroll.token_file,
        *conf.files(),
    ]
    return sorted({os.path.abspath(path) for path in found if path})
