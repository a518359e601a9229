# SPDX-License-Identifier: Apache-2.0
"""A certificate authority in a temporary folder, made by the openssl command."""

import pathlib
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from devstack import processes


class Pair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: pathlib.Path
    key: pathlib.Path


class Authority:
    """Signs certificates for servers and clients.

    :param folder: for everything that it writes; made if it is not there.
    :ivar certificate: its own, which others are verified against.
    :raises devstack.processes.Failed: openssl is not installed, or fails.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = folder / 'ca.key'
        self.certificate = folder / 'ca.pem'
        self._number = 0
        _openssl(
            *('req', '-x509', '-new', *_KEY, '-keyout', str(self._key)),
            *('-out', str(self.certificate), '-subj', f'/CN=authority {folder.name}'),
            *('-days', '2', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'),
        )

    def issue(
        self, name: str, names: Sequence[str] = (), expired: bool = False
    ) -> Pair:
        """Return a new certificate with the common name ``name``.

        :param names: the DNS names for which a server may show it.
        :param expired: it was valid yesterday.
        """
        self._number += 1
        stem = self._folder / str(self._number)
        pair = Pair(stem.with_suffix('.pem'), stem.with_suffix('.key'))
        request, extensions = stem.with_suffix('.csr'), stem.with_suffix('.ext')
        _openssl(
            *('req', '-new', *_KEY, '-keyout', str(pair.key)),
            *('-out', str(request), '-subj', f'/CN={name}'),
        )
        lines = ['basicConstraints=CA:FALSE', 'extendedKeyUsage=serverAuth,clientAuth']
        if names:
            lines.append('subjectAltName=' + ','.join(f'DNS:{one}' for one in names))
        extensions.write_text('\n'.join(lines) + '\n')
        _openssl(
            *('x509', '-req', '-in', str(request), '-CA', str(self.certificate)),
            *('-CAkey', str(self._key), '-set_serial', str(self._number)),
            *('-extfile', str(extensions), '-out', str(pair.certificate)),
            *(('-days', '-1') if expired else ('-days', '2')),
        )
        return pair


#: Elliptic keys are made at once.
_KEY = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes')


def _openssl(*arguments: str) -> None:
    try:
        subprocess.run(
            ['openssl', *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        raise processes.Failed('openssl is not installed: apt-get install openssl')
    except subprocess.CalledProcessError as error:
        raise processes.Failed(f'openssl {arguments[0]}: {error.stderr}') from None
