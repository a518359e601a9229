# SPDX-License-Identifier: Apache-2.0
"""Shipped for the tests of extensions; doc/testing.rst shows how it is used.

``call`` runs one command with no bus, ``started`` gives an extension between its start
and its stop, ``Host`` records what it reports.  :mod:`guestagent.testing.agent` drives
a whole agent in the test's own process, on a bus that loses, repeats, delays and
reorders as it is told (:mod:`guestagent.testing.fates`).
"""

from guestagent.testing.calling import call, started
from guestagent.testing.host import Host

__all__ = ['Host', 'call', 'started']
