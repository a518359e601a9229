# SPDX-License-Identifier: Apache-2.0
"""What the tests of isolated extensions have in common."""

import pathlib
import time

from oslo_config import cfg

from guestagent.conf import isolation

#: The extension, and the programs, that the tests run.
HERE = pathlib.Path(__file__).parent / 'isolated'
SECONDS = 60


def wait(condition, what='it'):
    """Wait until ``condition()`` is true."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, f'{what} did not come about'
        time.sleep(0.01)


def alive(pid):
    """Whether a process runs, and is no zombie."""
    try:
        return 'Z' not in pathlib.Path(f'/proc/{pid}/stat').read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def configuration(name, **options):
    """Return what an agent's file would say of an extension with a command."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    isolation.register(conf, name, installed=False)
    for option, value in options.items():
        conf.set_override(option, value, group=name)
    return conf
