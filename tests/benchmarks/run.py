# SPDX-License-Identifier: Apache-2.0
"""``make bench``: this file is run as a script, from any folder."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

if __name__ == '__main__':
    # A script's own folder is on the path, not the one that holds ``tests``.
    sys.path[0] = str(ROOT)
    from tests.benchmarks import cli

    sys.exit(cli.main())
