# SPDX-License-Identifier: Apache-2.0
"""The text of the files that ``guestctl extension new`` writes."""

import re
import string

_SETUP = """\
[metadata]
name = guestagent-$name
version = 0.1.0
description = The extension $name of the guest agent
long_description = file: README.rst
long_description_content_type = text/x-rst

[options]
python_requires = >=3.11
packages = find:
install_requires =
    guestagent

[options.packages.find]
include =
    $module
    $module.*

[options.extras_require]
test =
    pytest

[options.entry_points]
# The name on the left is the extension's: the first half of its commands.
guestagent.extensions =
    $name = $module.extension:$kind
"""

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=65"]
build-backend = "setuptools.build_meta"

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

_README = """\
$line
 guestagent-$name
$line

An extension of the guest agent: ``$name.read`` returns the load of the guest.

To install it beside the agent, with the ``pip`` of the agent's environment::

    pip install .

To load it, name it in the agent's configuration and start the agent again::

    [DEFAULT]
    enabled_extensions = exec, monitoring, $name

To call it::

    guestctl call INSTANCE $name.read

To test it, with no agent and no bus::

    pip install -e '.[test]'
    pytest
"""

_PACKAGE = '''\
"""The extension $name of the guest agent."""
'''

_EXTENSION = '''\
"""Report the load of the guest, and an event when it is high."""

import os

from oslo_config import cfg

from guestagent import errors, extension


class $kind(extension.Extension):
    """Answers ``$name.read`` and reports the fact ``$name.load``."""

    version = '1.0'
    options = (
        cfg.FloatOpt(
            'limit',
            default=10,
            min=0,
            help='A load above this is reported as an event.',
        ),
        cfg.FloatOpt(
            'period',
            default=60,
            min=0,
            help='Seconds between two reports. 0: none.',
        ),
    )

    @extension.command(mutates=False, timeout=5)
    def read(self, context: extension.Context, minutes: int = 1) -> dict[str, float]:
        """Return the mean load of the last 1, 5 or 15 minutes."""
        loads = dict(zip((1, 5, 15), os.getloadavg(), strict=True))
        if minutes not in loads:
            raise errors.InvalidArgument('minutes must be 1, 5 or 15')
        return {'load': loads[minutes]}

    @extension.periodic(spacing=60, option='period')
    def watch(self) -> None:
        """Report the load as a fact, and an event when it is above the limit."""
        load = os.getloadavg()[0]
        # What flutters is rounded: only changes are sent.
        self.report_facts({'load': round(load)})
        if load > self.conf.limit:
            self.report_event('high', {'load': load})
'''

_TEST = """\
import pytest

from guestagent import errors, testing
from $module import extension


def test_read_returns_the_load():
    assert testing.call(extension.$kind, 'read')['load'] >= 0


def test_read_knows_three_means():
    with pytest.raises(errors.InvalidArgument, match='1, 5 or 15'):
        testing.call(extension.$kind, 'read', minutes=2)


def test_a_high_load_is_an_event(monkeypatch):
    monkeypatch.setattr('os.getloadavg', lambda: (11.2, 3.0, 1.0))
    host = testing.Host()
    with testing.started(
        extension.$kind, name='$name', options={'limit': 11}, host=host
    ) as made:
        made.watch()
    assert host.facts == {'$name.load': 11}
    assert host.events == [('$name.high', {'load': 11.2})]
"""

_TEMPLATES = {
    'setup.cfg': _SETUP,
    'pyproject.toml': _PYPROJECT,
    'README.rst': _README,
    '$module/__init__.py': _PACKAGE,
    '$module/extension.py': _EXTENSION,
    'tests/test_extension.py': _TEST,
}


def files(name: str) -> dict[str, str]:
    """Return the texts of all files of the extension ``name``, by path."""
    words = {
        'name': name,
        'module': f'guestagent_{name.replace("-", "_")}',
        'kind': class_name(name),
        'line': '=' * (len(f'guestagent-{name}') + 2),
    }
    return {
        _filled(path, words): _filled(text, words) for path, text in _TEMPLATES.items()
    }


def class_name(name: str) -> str:
    """Return the name of the class: ``DiskWatch`` for ``disk-watch``."""
    return ''.join(part.capitalize() for part in re.split('[-_]', name))


def _filled(text: str, words: dict[str, str]) -> str:
    return string.Template(text).substitute(words)
