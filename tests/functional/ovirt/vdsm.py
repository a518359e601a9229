# SPDX-License-Identifier: Apache-2.0
"""The host's end of the oVirt channel, as VDSM has it: what it sends, takes and keeps.

Written from what was seen of VDSM on the wire, not from its source.
"""

import contextlib
import json
import os
import select
import time
import tty

from guestagent_ovirt import lines

#: What VDSM knows; anything else makes it log an error.
KNOWN = {
    'active-user',
    'applications',
    'completion',
    'containers',
    'disks-usage',
    'echo',
    'fqdn',
    'heartbeat',
    'host-name',
    'network-interfaces',
    'number-of-cpus',
    'os-info',
    'os-version',
    'session-lock',
    'session-logoff',
    'session-logon',
    'session-shutdown',
    'session-startup',
    'session-unlock',
    'timezone',
    'uninstalled',
}


class Host:
    """Speaks at the host's end of a port.

    :param descriptor: of this end.
    :param version: the highest that this host knows.
    :ivar said: (name, fields) of all messages, in order.
    """

    def __init__(self, descriptor, version=3):
        self._version = version
        self._agreed = 0
        self._rest = b''
        self.said = []
        self._host = descriptor
        os.set_blocking(descriptor, False)

    def connect(self):
        """Say what VDSM says when it has connected."""
        self.send('refresh', apiVersion=self._version)

    def send(self, name, **fields):
        """Send a message as VDSM does: its name comes last."""
        self.write(json.dumps({**fields, '__name__': name}).encode() + b'\n')

    def write(self, data):
        """Write bytes, as fast as the guest reads."""
        left = memoryview(data)
        until = time.monotonic() + 30
        while left:
            assert time.monotonic() < until, 'the guest does not read'
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._host, left) :]
            self.read(0.01)

    def read(self, seconds):
        """Take what comes within so many seconds."""
        if not select.select([self._host], [], [], seconds)[0]:
            return
        *ended, self._rest = (self._rest + os.read(self._host, 65536)).split(b'\n')
        assert len(self._rest) < lines.LINE_MAX
        for line in ended:
            fields = json.loads(line)
            name = fields.pop('__name__')
            assert name in KNOWN, name
            self.said.append((name, fields))
            if name == 'heartbeat':
                self._negotiate(fields)

    def _negotiate(self, fields):
        offered = min(fields.get('apiVersion', 0), self._version)
        if offered != self._agreed:
            self._agreed = offered
            if offered:
                self.send('api-version', apiVersion=offered)

    def wait(self, name, after=0, where=lambda fields: True):
        """Return the fields of the next such message; the newest that is not older."""
        until = time.monotonic() + 60
        while True:
            for each, fields in self.said[after:]:
                if each == name and where(fields):
                    return fields
            assert time.monotonic() < until, f'no {name} came: {self.said[after:]}'
            self.read(0.2)

    def close(self):
        """Go away, in the middle of whatever it was."""
        os.close(self._host)


class Vdsm(Host):
    """Speaks at the other end of a terminal that stands for the port.

    :param folder: where the port appears.
    """

    def __init__(self, folder, version=3, name='ovirt-guest-agent.0'):
        host, self._guest = os.openpty()
        super().__init__(host, version)
        tty.setraw(self._guest)
        (folder / name).symlink_to(os.ttyname(self._guest))

    def close(self):
        """See the base class."""
        super().close()
        os.close(self._guest)
