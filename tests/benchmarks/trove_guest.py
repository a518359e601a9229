# SPDX-License-Identifier: Apache-2.0
"""Trove's own guest agent, in a folder: ``python trove_guest.py FOLDER ARGUMENT...``.

Run by the Python of the environment that has Trove in it, with the agent's arguments.
Two paths are constants there and not options: where the socket of the server is, and
where the agent notes that the instance is prepared.
"""

import os
import sys

from trove.cmd import guest
from trove.common import constants


def main():
    """Set the paths, then do what trove-guestagent does."""
    folder = sys.argv.pop(1)
    constants.MYSQL_HOST_SOCKET_PATH = os.path.join(folder, 'socket')
    from trove.guestagent.datastore import service

    service.BaseDbStatus.GUESTAGENT_DIR = folder
    guest.main()


if __name__ == '__main__':
    main()
